// SPDX-License-Identifier: MIT
#include "progress.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace crash_proof {
namespace {

using namespace std::chrono_literals;

constexpr auto kTimeBetweenFrames = 100ms;
constexpr auto kTimeBetweenLines = 1s;
constexpr std::string_view kEraseLine = "\r\x1b[K";
constexpr std::size_t kLongestBar = 40;

/// One write for the whole text, so that nothing else appears in its middle.
void write_to_stderr(const std::string& text) {
  // A terminal that has gone away is no reason to stop the work.
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text.data(), text.size());
}

bool stderr_is_terminal() {
  const char* const kind = std::getenv("TERM");  // NOLINT(concurrency-mt-unsafe): nobody changes the environment
  return ::isatty(STDERR_FILENO) && kind && std::string_view(kind) != "dumb";
}

std::size_t terminal_width() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

}  // namespace

Progress::Progress(std::uint64_t programs) : programs_(programs), terminal_(stderr_is_terminal()) {
  if (!terminal_) next_show_ += kTimeBetweenLines;  // a short batch needs no line
}

Progress::~Progress() {
  if (drawn_) write_to_stderr(std::string(kEraseLine));
}

void Progress::show(const Figures& figures) {
  const auto now = Clock::now();
  if (now < next_show_) return;
  write_to_stderr(terminal_ ? bar(figures) : status(figures) + "\n");
  drawn_ = terminal_;
  next_show_ = now + (terminal_ ? Clock::duration{kTimeBetweenFrames} : Clock::duration{kTimeBetweenLines});
}

double Progress::share(const Figures& figures) const {
  return programs_ == 0 ? 1 : static_cast<double>(figures.finished) / static_cast<double>(programs_);
}

/// " 45%  90/200 programs  2 crashed  3 tried again"
std::string Progress::status(const Figures& figures) const {
  char percent[8];
  std::snprintf(percent, sizeof(percent), "%3.0f%%", share(figures) * 100);
  std::string text = percent;
  text += "  " + std::to_string(figures.finished) + "/" + std::to_string(programs_) + " programs";
  if (figures.crashes > 0) text += "  " + std::to_string(figures.crashes) + " crashed";
  if (figures.retried > 0) text += "  " + std::to_string(figures.retried) + " tried again";
  return text;
}

std::string Progress::bar(const Figures& figures) const {
  const std::size_t width = terminal_width() - 1;  // a full line would wrap
  std::string text = status(figures);
  text.resize(std::min(text.size(), width));
  if (width > text.size() + 12) {
    std::string picture(std::min(width - text.size() - 3, kLongestBar), '.');
    const auto full = static_cast<std::size_t>(share(figures) * static_cast<double>(picture.size()));
    std::fill_n(picture.begin(), full, '#');
    text = "[" + picture + "] " + text;
  }
  return std::string(kEraseLine) + text;
}

}  // namespace crash_proof
