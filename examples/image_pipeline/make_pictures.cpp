// SPDX-License-Identifier: MIT
/// @file
/// Makes pictures for image_pipeline: a slope of two colours, discs before it, and some noise.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <random>
#include <string>

#include "picture.hpp"
#include "png_file.hpp"

namespace fs = std::filesystem;

namespace image_pipeline {
namespace {

constexpr const char* kDescription =
    "Makes PNG files for image_pipeline: discs before a slope of two colours. The same options give the same files.\n\n"
    "Exit code: 0 all are written, 1 some file could not be written, 2 wrong use.\n";

struct Options {
  fs::path output;
  std::size_t number = 100;
  std::size_t width = 400;
  std::size_t height = 300;
};

constexpr std::size_t kDiscs = 12;
constexpr unsigned kNoise = 8;  // how much a colour may differ from its neighbours'

/// Chance that is the same everywhere: the standard's distributions are not.
class Chance {
 public:
  explicit Chance(std::size_t seed) : engine_(static_cast<std::uint_fast32_t>(seed + 1)) {}

  /// From 0 to `count` - 1.
  std::size_t below(std::size_t count) { return engine_() % count; }

  std::uint8_t byte() { return static_cast<std::uint8_t>(below(256)); }
  Pixel color() { return {byte(), byte(), byte(), 255}; }

 private:
  std::mt19937 engine_;
};

std::uint8_t mix(std::size_t from, std::size_t to, std::size_t part, std::size_t whole) {
  return static_cast<std::uint8_t>((from * (whole - part) + to * part) / whole);
}

void draw_slope(Picture& picture, Chance& chance) {
  const Pixel left = chance.color();
  const Pixel right = chance.color();
  const std::size_t whole = picture.width;
  for (std::size_t y = 0; y < picture.height; ++y) {
    for (std::size_t x = 0; x < picture.width; ++x) {
      picture.at(x, y) = {mix(left.red, right.red, x, whole), mix(left.green, right.green, x, whole),
                          mix(left.blue, right.blue, x, whole), 255};
    }
  }
}

void draw_disc(Picture& picture, Chance& chance) {
  const std::size_t x = chance.below(picture.width);
  const std::size_t y = chance.below(picture.height);
  const std::size_t radius = 1 + chance.below(1 + std::min(picture.width, picture.height) / 5);
  const Pixel color = chance.color();
  const auto squared = [](std::size_t a, std::size_t b) { return a > b ? (a - b) * (a - b) : (b - a) * (b - a); };
  for (std::size_t j = y - std::min(y, radius); j < std::min(y + radius, picture.height); ++j) {
    for (std::size_t i = x - std::min(x, radius); i < std::min(x + radius, picture.width); ++i) {
      if (squared(i, x) + squared(j, y) < radius * radius) picture.at(i, j) = color;
    }
  }
}

void add_noise(Picture& picture, Chance& chance) {
  for (Pixel& pixel : picture.pixels) {
    for (std::uint8_t* const value : {&pixel.red, &pixel.green, &pixel.blue}) {
      *value = static_cast<std::uint8_t>(std::min<std::size_t>(*value + chance.below(kNoise), 255));
    }
  }
}

Picture make_picture(const Options& options, std::size_t number) {
  Chance chance(number);
  Picture picture(options.width, options.height);
  draw_slope(picture, chance);
  for (std::size_t i = 0; i < kDiscs; ++i) draw_disc(picture, chance);
  add_noise(picture, chance);
  return picture;
}

/// "picture-0007.png"
std::string name_of(std::size_t number) {
  char name[64];
  std::snprintf(name, sizeof(name), "picture-%04zu.png", number);
  return name;
}

void complain(const std::string& text) { std::fprintf(stderr, "make_pictures: %s\n", text.c_str()); }

int run(const Options& options) {
  bool good = true;
  for (std::size_t i = 0; i < options.number; ++i) {
    const fs::path file = options.output / name_of(i);
    try {
      fs::create_directories(options.output);
      write_png(file, make_picture(options, i));
    } catch (const std::exception& e) {
      complain(file.string() + ": " + e.what());
      good = false;
    }
  }
  return good ? 0 : 1;
}

}  // namespace
}  // namespace image_pipeline

int main(int argc, char** argv) {
  image_pipeline::Options options;
  CLI::App app{image_pipeline::kDescription};
  const auto add = [&app](const char* name, std::size_t& value, std::size_t most, const char* text) {
    app.add_option(name, value, text)->check(CLI::Range(std::size_t{1}, most))->capture_default_str();
  };
  app.add_option("--output", options.output, "Folder for the pictures; made if need be, nothing in it is overwritten")
      ->required();
  add("--number", options.number, 1'000'000, "How many pictures");
  add("--width", options.width, 20'000, "Their width in pixels");
  add("--height", options.height, 20'000, "Their height in pixels");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  return image_pipeline::run(options);
}
