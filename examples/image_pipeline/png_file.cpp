// SPDX-License-Identifier: MIT
#include "png_file.hpp"

#include <png.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <string>
#include <system_error>

namespace image_pipeline {
namespace fs = std::filesystem;

namespace {

/// What libpng keeps while it reads or writes a file.
class Image {
 public:
  Image() { image_.version = PNG_IMAGE_VERSION; }
  ~Image() { png_image_free(&image_); }

  Image(const Image&) = delete;
  Image& operator=(const Image&) = delete;

  png_image* operator->() noexcept { return &image_; }
  png_image* get() noexcept { return &image_; }

  /// What libpng says about its last error.
  const char* message() const noexcept { return image_.message; }

 private:
  png_image image_{};
};

struct Close {
  void operator()(std::FILE* file) const noexcept { std::fclose(file); }
};

}  // namespace

Picture read_png(const fs::path& file, std::size_t max_pixels) {
  const std::unique_ptr<std::FILE, Close> stream{std::fopen(file.c_str(), "rb")};
  if (!stream) throw PngError(std::generic_category().message(errno));
  Image image;
  const auto require = [&](int result) {  // 0: libpng has met an error
    if (result == 0) throw PngError(std::feof(stream.get()) ? "the file ends too early" : image.message());
  };
  require(png_image_begin_read_from_stdio(image.get(), stream.get()));
  if (image->width > max_pixels / image->height) {
    throw PngError(std::to_string(image->width) + " x " + std::to_string(image->height) + " pixels are more than " +
                   std::to_string(max_pixels));
  }
  image->format = PNG_FORMAT_RGBA;
  image->flags |= PNG_IMAGE_FLAG_16BIT_sRGB;  // unless the file says otherwise; libpng would take 16 bits for linear
  Picture picture(image->width, image->height);
  require(png_image_finish_read(image.get(), nullptr, picture.pixels.data(), 0, nullptr));
  return picture;
}

void write_png(const fs::path& file, const Picture& picture) {
  if (fs::exists(file)) throw PngError("the output file exists");
  Image image;
  image->width = static_cast<png_uint_32>(picture.width);
  image->height = static_cast<png_uint_32>(picture.height);
  image->format = PNG_FORMAT_RGBA;
  const fs::path partial = file.parent_path() / ("." + file.filename().string() + ".partial");
  // libpng removes the file again if it cannot write all of it.
  if (png_image_write_to_file(image.get(), partial.c_str(), 0, picture.pixels.data(), 0, nullptr) == 0) {
    throw PngError(image.message());
  }
  fs::rename(partial, file);
}

}  // namespace image_pipeline
