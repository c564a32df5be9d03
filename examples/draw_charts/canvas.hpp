// SPDX-License-Identifier: MIT
/// @file
/// A canvas as drawing libraries have it: with a pen that everybody who draws shares.
#pragma once

#include <cairo.h>

#include <memory>
#include <string>

namespace draw_charts {

struct Color {
  double red = 0;  // from 0 to 1
  double green = 0;
  double blue = 0;
};

/// In pixels, from the upper left corner of the picture.
struct Point {
  double x = 0;
  double y = 0;
};

/// A rectangle of whole pixels.
struct Area {
  int left = 0;
  int top = 0;
  int width = 0;
  int height = 0;
};

/// What cairo holds for the whole program. Made first in main(): at its end nothing of cairo may be in use any more.
class Cairo {
 public:
  Cairo() = default;
  ~Cairo();

  Cairo(const Cairo&) = delete;
  Cairo& operator=(const Cairo&) = delete;
};

/// A picture, and a pen with a color, a place and a line that is not drawn yet. Every function changes the state that
/// the next one finds: so it is not enough that one thread at a time calls a function. A thread must have the canvas to
/// itself from set_color() to stroke().
///
/// All but the destructor throw std::runtime_error if cairo fails.
class Canvas {
 public:
  /// A white picture of that part of the plane.
  explicit Canvas(const Area& area);

  const Area& area() const { return area_; }

  void set_color(const Color& color);
  void move_to(const Point& to);
  void line_to(const Point& to);
  /// Draws the line since move_to(), and forgets it.
  void stroke(double width);

  enum class Align { left, center, right };
  void write(const Point& at, const std::string& text, Align align);

  /// From now on nothing is drawn outside of `area`; or everywhere again.
  void clip(const Area& area);
  void unclip();

  /// A canvas that begins as a copy of a part of this one.
  Canvas cut_out(const Area& area);
  /// Puts all of `part` where it belongs.
  void paste(const Canvas& part);

  /// Whether both have the same pixels in an area that lies on both.
  bool same(const Canvas& other, const Area& area) const;

  /// The picture as a PNG file. @throws std::system_error if it cannot be written.
  void save(const std::string& file) const;

 private:
  struct Destroy {
    void operator()(cairo_surface_t* surface) const { cairo_surface_destroy(surface); }
    void operator()(cairo_t* pen) const { cairo_destroy(pen); }
  };

  void check() const;
  const unsigned char* row(int y, int x) const;

  Area area_;
  std::unique_ptr<cairo_surface_t, Destroy> surface_;
  std::unique_ptr<cairo_t, Destroy> pen_;
};

}  // namespace draw_charts
