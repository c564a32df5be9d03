// SPDX-License-Identifier: MIT
#include "progress.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <vector>

namespace fetch_urls {
namespace {

using namespace std::chrono_literals;

constexpr auto kTimeBetweenPictures = 100ms;
constexpr auto kTimeBetweenLines = 1s;
constexpr std::string_view kEraseLine = "\r\x1b[K";
constexpr std::string_view kEraseBelow = "\r\x1b[J";
constexpr std::size_t kLongestBar = 30;

/// One write for the whole text, so that nothing else appears in its middle.
void write_to_stderr(const std::string& text) {
  // A terminal that has gone away is no reason to stop the work.
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text.data(), text.size());
}

bool stderr_is_terminal() {
  const char* const kind = std::getenv("TERM");  // NOLINT(concurrency-mt-unsafe): nobody changes the environment
  return ::isatty(STDERR_FILENO) && kind && std::string_view(kind) != "dumb";
}

struct Size {
  std::size_t width;
  std::size_t height;
};

Size terminal_size() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) return {80, 24};
  return {size.ws_col, size.ws_row};
}

double in_seconds(Board::Clock::duration time) { return std::chrono::duration<double>(time).count(); }

template <class... Numbers>
std::string format(const char* how, Numbers... numbers) {
  char text[80];
  std::snprintf(text, sizeof(text), how, numbers...);
  return text;
}

double share_of(const Board::View& view) {
  return view.total == 0 ? 1 : static_cast<double>(view.finished()) / static_cast<double>(view.total);
}

/// " 45%  90/200 URLs  85.2/s  p50 21 ms  p99 43 ms  0:10 left  2 failed"
std::string status(const Board::View& view) {
  const double share = share_of(view);
  const double elapsed = in_seconds(view.elapsed);
  std::string text = format("%3.0f%%  %zu/%zu URLs", std::floor(share * 100), view.finished(), view.total);
  if (elapsed > 0) text += format("  %.1f/s", static_cast<double>(view.finished()) / elapsed);
  if (!view.seconds.empty()) {
    text += format("  p50 %.0f ms  p99 %.0f ms", percentile(view.seconds, 0.5) * 1000,
                   percentile(view.seconds, 0.99) * 1000);
  }
  if (share > 0) {
    const auto left = static_cast<unsigned long long>(std::ceil(elapsed * (1 - share) / share));
    text += format("  %llu:%02llu left", left / 60, left % 60);
  }
  if (view.failed > 0) text += format("  %zu failed", view.failed);
  return text;
}

/// " 3   0.4 s  http://example.org/a"
std::string describe(std::size_t worker, const Board::Row& row) {
  std::string text = format("%3zu  ", worker);
  if (row.url.empty()) return text + "   -";
  text += format("%4.1f s  ", in_seconds(Board::Clock::now() - row.since));
  if (row.waiting) text += format("waits for attempt %d  ", row.attempt);
  if (!row.waiting && row.attempt > 1) text += format("attempt %d  ", row.attempt);
  return text + row.url;
}

/// "[####......] ", or nothing where there is too little room.
std::string bar(double share, std::size_t room) {
  if (room < 12) return "";
  std::string picture(std::min(room - 3, kLongestBar), '.');
  const double full = std::floor(share * static_cast<double>(picture.size()));
  std::fill_n(picture.begin(), static_cast<std::size_t>(full), '#');
  return '[' + picture + "] ";
}

/// The lines of a picture: the status and the workers, as many as there is room for.
std::vector<std::string> draw(const Board::View& view, Size size) {
  const std::size_t width = size.width - 1;  // a full line would wrap
  const std::size_t room = size.height > 3 ? size.height - 3 : 0;
  const std::string text = status(view);
  std::vector<std::string> lines{bar(share_of(view), width > text.size() ? width - text.size() : 0) + text};
  const std::size_t shown = std::min(view.rows.size(), room);
  for (std::size_t i = 0; i < shown; ++i) lines.push_back(describe(i, view.rows[i]));
  if (shown < view.rows.size()) lines.push_back(format("     and %zu more workers", view.rows.size() - shown));
  lines.resize(std::clamp<std::size_t>(lines.size(), 1, std::max<std::size_t>(size.height, 2) - 1));
  for (std::string& line : lines) {
    line.resize(std::min(line.size(), width));
    // A URL is somebody else's text: it must not command the terminal, and a character must take one column.
    std::replace_if(
        line.begin(), line.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  }
  return lines;
}

std::string cursor_up(std::size_t lines) { return lines == 0 ? "" : format("\x1b[%zuA", lines); }

}  // namespace

Progress::Progress(const Board& board) : board_(board), thread_({.name = "progress"}, [this] { show(); }) {
  thread_.start();
}

Progress::~Progress() {
  finished_.set();
  thread_.join();
}

void Progress::show() {
  if (stderr_is_terminal()) {
    show_pictures();
  } else {
    show_lines();
  }
}

void Progress::show_pictures() {
  std::size_t drawn = 0;  // lines, all above the cursor
  do {
    std::string text = cursor_up(drawn);
    const std::vector<std::string> lines = draw(board_.view(), terminal_size());
    for (const std::string& line : lines) text.append(kEraseLine).append(line).append("\n");
    write_to_stderr(text.append(kEraseBelow));
    drawn = lines.size();
  } while (!finished_.wait(kTimeBetweenPictures));
  write_to_stderr(cursor_up(drawn).append(kEraseBelow));
}

void Progress::show_lines() {
  while (!finished_.wait(kTimeBetweenLines)) write_to_stderr(status(board_.view()) + "\n");
}

}  // namespace fetch_urls
