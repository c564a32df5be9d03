// SPDX-License-Identifier: MIT
/// @file
/// Draws what happened when, as SVG.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

namespace fanout_query {

/// From one moment to another, in seconds.
struct Span {
  double begin = 0;
  double end = 0;
  std::string note;  // what is said of it
};

struct Row {
  std::string label;
  Span whole{};
  std::vector<Span> parts{};
  bool failed = false;
};

struct Panel {
  std::string title;
  std::vector<Row> rows{};
};

/// Writes an SVG document: the panels one below the other, with the same axis for all; in each a line for every row, with
/// its parts as bars. Texts are written as they are: they must not hold what means something to XML.
void write_timeline(std::ostream& out, const std::string& title, const std::vector<Panel>& panels);

}  // namespace fanout_query
