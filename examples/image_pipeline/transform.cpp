// SPDX-License-Identifier: MIT
#include "transform.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string_view>
#include <utility>

namespace image_pipeline {
namespace {

/// How bright the eye sees a colour, from 0 to 255 (ITU-R BT.601).
std::uint8_t brightness(const Pixel& pixel) {
  return static_cast<std::uint8_t>((299u * pixel.red + 587u * pixel.green + 114u * pixel.blue + 500u) / 1000u);
}

/// The mean of some pixels. Their colours count as much as they are opaque: what cannot be seen has no colour.
class Mean {
 public:
  void add(const Pixel& pixel) {
    red_ += pixel.alpha * pixel.red;
    green_ += pixel.alpha * pixel.green;
    blue_ += pixel.alpha * pixel.blue;
    alpha_ += pixel.alpha;
    ++count_;
  }

  /// Takes out again what add() took in.
  void remove(const Pixel& pixel) {
    red_ -= pixel.alpha * pixel.red;
    green_ -= pixel.alpha * pixel.green;
    blue_ -= pixel.alpha * pixel.blue;
    alpha_ -= pixel.alpha;
    --count_;
  }

  Pixel value() const {
    if (alpha_ == 0) return {};
    return {divide(red_, alpha_), divide(green_, alpha_), divide(blue_, alpha_), divide(alpha_, count_)};
  }

 private:
  static std::uint8_t divide(std::int64_t sum, std::int64_t by) {
    return static_cast<std::uint8_t>((sum + by / 2) / by);  // rounded
  }

  std::int64_t red_ = 0;
  std::int64_t green_ = 0;
  std::int64_t blue_ = 0;
  std::int64_t alpha_ = 0;
  std::int64_t count_ = 0;
};

void grayscale(Picture& picture, std::size_t) {
  for (Pixel& pixel : picture.pixels) {
    const std::uint8_t gray = brightness(pixel);
    pixel = {gray, gray, gray, pixel.alpha};
  }
}

void invert(Picture& picture, std::size_t) {
  const auto opposite = [](std::uint8_t value) { return static_cast<std::uint8_t>(255 - value); };
  for (Pixel& pixel : picture.pixels) {
    pixel = {opposite(pixel.red), opposite(pixel.green), opposite(pixel.blue), pixel.alpha};
  }
}

/// Sobel's operator: white where the brightness changes. Beyond its edges a picture goes on as it is there.
void edges(Picture& picture, std::size_t) {
  const Picture from = picture;
  for (std::size_t y = 0; y < from.height; ++y) {
    const std::size_t above = y == 0 ? 0 : y - 1;
    const std::size_t below = std::min(y + 1, from.height - 1);
    for (std::size_t x = 0; x < from.width; ++x) {
      const std::size_t left = x == 0 ? 0 : x - 1;
      const std::size_t right = std::min(x + 1, from.width - 1);
      const auto light = [&from](std::size_t i, std::size_t j) { return int{brightness(from.at(i, j))}; };
      const int across = light(right, above) + 2 * light(right, y) + light(right, below) -  //
                         light(left, above) - 2 * light(left, y) - light(left, below);
      const int down = light(left, below) + 2 * light(x, below) + light(right, below) -  //
                       light(left, above) - 2 * light(x, above) - light(right, above);
      const double slope = std::sqrt(across * across + down * down);
      const auto gray = static_cast<std::uint8_t>(std::min(std::lround(slope), 255L));
      picture.at(x, y) = {gray, gray, gray, from.at(x, y).alpha};
    }
  }
}

/// Each of `count` pixels, `step` apart, becomes the mean of those at most `radius` away, as far as there are any.
/// The mean moves along the line, so the time does not depend on the radius.
void blur_line(const Pixel* from, Pixel* to, std::size_t count, std::size_t step, std::size_t radius) {
  Mean mean;
  for (std::size_t i = 0; i < std::min(radius, count); ++i) mean.add(from[i * step]);
  for (std::size_t i = 0; i < count; ++i) {
    if (i + radius < count) mean.add(from[(i + radius) * step]);
    if (i > radius) mean.remove(from[(i - radius - 1) * step]);
    to[i * step] = mean.value();
  }
}

/// The mean of a square around each pixel: first of the rows, then of the columns.
void blur(Picture& picture, std::size_t radius) {
  Picture rows(picture.width, picture.height);
  for (std::size_t y = 0; y < picture.height; ++y) {
    blur_line(&picture.at(0, y), &rows.at(0, y), picture.width, 1, radius);
  }
  for (std::size_t x = 0; x < picture.width; ++x) {
    blur_line(&rows.at(x, 0), &picture.at(x, 0), picture.height, picture.width, radius);
  }
}

/// Shrinks a picture until no side is longer than `size`; each pixel is the mean of those in whose place it stands.
void thumbnail(Picture& picture, std::size_t size) {
  const std::size_t longest = std::max(picture.width, picture.height);
  if (longest <= size) return;
  const auto shrunk = [&](std::size_t side) { return std::max<std::size_t>(1, side * size / longest); };
  Picture small(shrunk(picture.width), shrunk(picture.height));
  for (std::size_t y = 0; y < small.height; ++y) {
    for (std::size_t x = 0; x < small.width; ++x) {
      Mean mean;
      for (std::size_t j = y * picture.height / small.height; j < (y + 1) * picture.height / small.height; ++j) {
        for (std::size_t i = x * picture.width / small.width; i < (x + 1) * picture.width / small.width; ++i) {
          mean.add(picture.at(i, j));
        }
      }
      small.at(x, y) = mean.value();
    }
  }
  picture = std::move(small);
}

struct Kind {
  std::string_view name;
  const char* argument;  // what it is called; nullptr: there is none
  const char* help;
  void (*apply)(Picture&, std::size_t argument);
};

constexpr Kind kKinds[] = {
    {"grayscale", nullptr, "colours become grays", grayscale},
    {"invert", nullptr, "every colour becomes its opposite", invert},
    {"edges", nullptr, "white where the brightness changes (Sobel), else black", edges},
    {"blur", "RADIUS", "the mean of a square of 2 RADIUS + 1 pixels", blur},
    {"thumbnail", "SIZE", "shrinks until no side is longer than SIZE", thumbnail},
};

constexpr std::size_t kMostArgument = 10'000;

std::string form_of(const Kind& kind) {
  return std::string(kind.name) + (kind.argument != nullptr ? std::string(":") + kind.argument : "");
}

}  // namespace

Transform parse_transform(const std::string& text) {
  const std::size_t colon = std::min(text.find(':'), text.size());
  const std::string_view name = std::string_view(text).substr(0, colon);
  const auto kind = std::find_if(std::begin(kKinds), std::end(kKinds), [&](const Kind& k) { return k.name == name; });
  if (kind == std::end(kKinds)) throw std::invalid_argument("there is no '" + text + "'");

  std::size_t argument = 0;
  const bool given = colon < text.size();
  if (given != (kind->argument != nullptr)) throw std::invalid_argument("'" + text + "' must be " + form_of(*kind));
  if (given) {
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data() + colon + 1, end, argument);
    if (error != std::errc{} || stop != end || argument < 1 || argument > kMostArgument) {
      throw std::invalid_argument("'" + text + "': " + kind->argument + " must be a number from 1 to " +
                                  std::to_string(kMostArgument));
    }
  }
  return [apply = kind->apply, argument](Picture& picture) { apply(picture, argument); };
}

std::string describe_transforms() {
  std::string text;
  for (const Kind& kind : kKinds) {
    std::string form = "  " + form_of(kind);
    form.resize(20, ' ');
    text += form + kind.help + "\n";
  }
  return text;
}

}  // namespace image_pipeline
