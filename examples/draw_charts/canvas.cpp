// SPDX-License-Identifier: MIT
#include "canvas.hpp"

#include <fontconfig/fontconfig.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <fstream>
#include <stdexcept>
#include <system_error>

namespace draw_charts {
namespace {

constexpr std::size_t kPixelBytes = 4;  // of CAIRO_FORMAT_RGB24, whose fourth byte means nothing
constexpr double kFontSize = 11;

void throw_if_bad(cairo_status_t status) {
  if (status != CAIRO_STATUS_SUCCESS) throw std::runtime_error(std::string("cairo: ") + cairo_status_to_string(status));
}

/// Called by cairo, which is C: no exception may leave it.
cairo_status_t append(void* bytes, const unsigned char* more, unsigned int length) noexcept {
  try {
    static_cast<std::string*>(bytes)->append(reinterpret_cast<const char*>(more), length);
  } catch (const std::exception&) {
    return CAIRO_STATUS_NO_MEMORY;
  }
  return CAIRO_STATUS_SUCCESS;
}

/// A surface knows where it lies, so that whoever draws on it or with it need not.
cairo_surface_t* new_surface(const Area& area) {
  cairo_surface_t* const surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, area.width, area.height);
  cairo_surface_set_device_offset(surface, -area.left, -area.top);
  return surface;  // or one that says in every use that it is none, which check() finds
}

}  // namespace

Cairo::~Cairo() {
  // Fonts and their list, which would stay in memory: nothing is lost by that, but leak checkers would say so.
  cairo_debug_reset_static_data();
  FcFini();
}

Canvas::Canvas(const Area& area) : area_(area), surface_(new_surface(area)), pen_(cairo_create(surface_.get())) {
  cairo_set_source_rgb(pen_.get(), 1, 1, 1);
  cairo_paint(pen_.get());
  cairo_set_line_join(pen_.get(), CAIRO_LINE_JOIN_ROUND);
  cairo_select_font_face(pen_.get(), "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
  cairo_set_font_size(pen_.get(), kFontSize);
  check();
}

void Canvas::set_color(const Color& color) {
  cairo_set_source_rgb(pen_.get(), color.red, color.green, color.blue);
  check();
}

void Canvas::move_to(const Point& to) {
  cairo_move_to(pen_.get(), to.x, to.y);
  check();
}

void Canvas::line_to(const Point& to) {
  cairo_line_to(pen_.get(), to.x, to.y);
  check();
}

void Canvas::stroke(double width) {
  cairo_set_line_width(pen_.get(), width);
  cairo_stroke(pen_.get());
  check();
}

void Canvas::write(const Point& at, const std::string& text, Align align) {
  cairo_text_extents_t size;
  cairo_text_extents(pen_.get(), text.c_str(), &size);
  const double share = align == Align::left ? 0 : align == Align::center ? 0.5 : 1;
  cairo_move_to(pen_.get(), at.x - share * size.x_advance, at.y);
  cairo_show_text(pen_.get(), text.c_str());
  cairo_new_path(pen_.get());
  check();
}

void Canvas::clip(const Area& area) {
  cairo_rectangle(pen_.get(), area.left, area.top, area.width, area.height);
  cairo_clip(pen_.get());
  check();
}

void Canvas::unclip() {
  cairo_reset_clip(pen_.get());
  check();
}

Canvas Canvas::cut_out(const Area& area) {
  Canvas part(area);
  part.paste(*this);
  return part;
}

void Canvas::paste(const Canvas& part) {
  cairo_save(pen_.get());
  cairo_set_source_surface(pen_.get(), part.surface_.get(), 0, 0);  // each lies where it belongs: at its offset
  cairo_paint(pen_.get());
  cairo_restore(pen_.get());
  check();
}

bool Canvas::same(const Canvas& other, const Area& area) const {
  for (int y = area.top; y < area.top + area.height; ++y) {
    const unsigned char* const mine = row(y, area.left);
    const unsigned char* const others = other.row(y, area.left);
    for (std::size_t i = 0; i < kPixelBytes * static_cast<std::size_t>(area.width); i += kPixelBytes) {
      std::uint32_t a = 0;
      std::uint32_t b = 0;
      std::memcpy(&a, mine + i, sizeof(a));
      std::memcpy(&b, others + i, sizeof(b));
      if (((a ^ b) & 0xffffff) != 0) return false;
    }
  }
  return true;
}

/// Where the pixel lies in memory, and those to the right of it.
const unsigned char* Canvas::row(int y, int x) const {
  cairo_surface_flush(surface_.get());
  return cairo_image_surface_get_data(surface_.get()) +
         static_cast<std::ptrdiff_t>(y - area_.top) * cairo_image_surface_get_stride(surface_.get()) +
         static_cast<std::ptrdiff_t>(x - area_.left) * static_cast<std::ptrdiff_t>(kPixelBytes);
}

void Canvas::save(const std::string& file) const {
  std::string png;
  throw_if_bad(cairo_surface_write_to_png_stream(surface_.get(), append, &png));
  errno = 0;
  std::ofstream out(file, std::ios::binary);
  out << png;
  out.close();
  if (!out) throw std::system_error(errno, std::generic_category(), file);
}

/// A failure stays in the pen, whose functions do nothing from then on.
void Canvas::check() const { throw_if_bad(cairo_status(pen_.get())); }

}  // namespace draw_charts
