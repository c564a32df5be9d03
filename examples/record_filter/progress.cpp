// SPDX-License-Identifier: MIT
#include "progress.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace record_filter {
namespace {

using namespace std::chrono_literals;

constexpr auto kTimeBetweenFrames = 100ms;
constexpr auto kTimeBetweenLines = 1s;
constexpr std::string_view kEraseLine = "\r\x1b[K";

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

/// 1234567 -> "1,234,567"
std::string with_commas(std::uint64_t number) {
  const std::string digits = std::to_string(number);
  std::string text;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

/// 3725 seconds -> "1:02:05"
std::string as_time(double seconds) {
  const auto total = static_cast<unsigned long long>(seconds + 0.5);
  char text[48];
  if (total < 3600) {
    std::snprintf(text, sizeof(text), "%llu:%02llu", total / 60, total % 60);
  } else {
    std::snprintf(text, sizeof(text), "%llu:%02llu:%02llu", total / 3600, total / 60 % 60, total % 60);
  }
  return text;
}

}  // namespace

Progress::Progress(std::uint64_t bytes, std::size_t folders, std::uint64_t records_per_line)
    : bytes_(bytes), folders_(folders), records_per_line_(records_per_line), terminal_(stderr_is_terminal()) {
  if (!terminal_) next_show_ += kTimeBetweenLines;  // a short job needs no line
}

Progress::~Progress() {
  if (drawn_) write_to_stderr(std::string(kEraseLine));
}

void Progress::show(const Figures& figures) {
  const auto now = Clock::now();
  if (now < next_show_) return;
  if (terminal_) {
    write_to_stderr(bar(figures));
    drawn_ = true;
    next_show_ = now + kTimeBetweenFrames;
  } else if (figures.records >= shown_records_ + records_per_line_) {
    const double share = bytes_ ? static_cast<double>(figures.bytes) / static_cast<double>(bytes_) : 0;
    write_to_stderr(status(figures, std::min(share, 1.0)) + "\n");
    shown_records_ = figures.records;
    next_show_ = now + kTimeBetweenLines;
  }
}

double Progress::seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

/// " 45%  3/8 folders  123,456 records  98,000/s  0:12 left  1 failed"
std::string Progress::status(const Figures& figures, double share) const {
  const double passed = seconds();
  char percent[8];
  std::snprintf(percent, sizeof(percent), "%3.0f%%", share * 100);
  std::string text = percent;
  text += "  " + std::to_string(figures.finished) + "/" + std::to_string(folders_) + " folders";
  text += "  " + with_commas(figures.records) + " records";
  if (passed > 0) {
    text += "  " + with_commas(static_cast<std::uint64_t>(static_cast<double>(figures.records) / passed)) + "/s";
  }
  if (share > 0) text += "  " + as_time(passed * (1 - share) / share) + " left";
  if (figures.failed > 0) text += "  " + std::to_string(figures.failed) + " failed";
  return text;
}

std::string Progress::bar(const Figures& figures) const {
  const double share = std::min(bytes_ ? static_cast<double>(figures.bytes) / static_cast<double>(bytes_) : 0, 1.0);
  const std::size_t width = terminal_width() - 1;  // a full line would wrap
  std::string text = status(figures, share);
  text.resize(std::min(text.size(), width));
  if (width > text.size() + 12) {
    const std::size_t length = std::min<std::size_t>(width - text.size() - 3, 40);
    const auto full = static_cast<std::size_t>(share * static_cast<double>(length));
    std::string picture(length, '.');
    std::fill_n(picture.begin(), full, '#');
    text = std::string("[") + picture + "] " + text;
  }
  return std::string(kEraseLine) + text;
}

}  // namespace record_filter
