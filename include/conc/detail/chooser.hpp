// SPDX-License-Identifier: MIT
/// @file
/// Who decides in an exploration. A schedule is the list of its decisions, each a number below the number of
/// alternatives there were; whoever made them, the list alone repeats the schedule.
#pragma once

#include <algorithm>
#include <conc/detail/fiber.hpp>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace conc::inline CONC_ABI::detail {

/// One decision: `picked` of the alternatives 0 … of - 1.
struct Choice {
  std::uint32_t picked;
  std::uint32_t of;
};

class Chooser {
 public:
  virtual ~Chooser() = default;
  Chooser() = default;
  Chooser(const Chooser&) = delete;
  Chooser& operator=(const Chooser&) = delete;

  /// A schedule begins. @return the seed of the seam's random() in it
  virtual std::uint32_t begin() = 0;
  /// The running thread has come to its next operation.
  virtual void step(const Fiber& /*running*/) {}
  /// Which of at least two threads runs next. Where the choice is not free, the first is the one that runs: taking
  /// another preempts it.
  virtual std::uint32_t thread(const std::vector<Fiber*>& ready, bool free) = 0;
  /// Which of n sleepers a wake finds.
  virtual std::uint32_t sleeper(std::uint32_t n) = 0;
  /// Which of the unlikely things 1 … n - 1 happens now, or none: 0.
  virtual std::uint32_t mishap(std::uint32_t n) = 0;
  /// The thread spins, or is polite.
  virtual void yielded(const Fiber& /*fiber*/) {}
  /// A schedule has ended. @return false if it was the last.
  virtual bool end() = 0;
  /// True once no other schedule is left, if such a thing can be known.
  [[nodiscard]] virtual bool complete() const noexcept { return false; }
};

/// Steele, Lea and Flood's SplitMix64 ("Fast splittable pseudorandom number generators", OOPSLA 2014).
class SplitMix {
 public:
  explicit SplitMix(std::uint64_t seed) noexcept : state_{seed} {}

  std::uint64_t next() noexcept {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15U;
    z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31U);
  }
  std::uint32_t below(std::uint32_t n) noexcept { return static_cast<std::uint32_t>(((next() >> 32U) * n) >> 32U); }

 private:
  std::uint64_t state_;
};

/// Every decision by lot. Mishaps come about twice in a schedule, early or late.
class RandomChooser : public Chooser {
 public:
  explicit RandomChooser(std::uint64_t seed) noexcept : random_{seed} {}

  std::uint32_t begin() override {
    chances_ = 0;
    return static_cast<std::uint32_t>(random_.next());
  }
  std::uint32_t thread(const std::vector<Fiber*>& ready, bool /*free*/) override {
    return random_.below(static_cast<std::uint32_t>(ready.size()));
  }
  std::uint32_t sleeper(std::uint32_t n) override { return random_.below(n); }
  std::uint32_t mishap(std::uint32_t n) override {
    most_chances_ = (std::max)(most_chances_, ++chances_);
    return random_.below(most_chances_) < 2 ? 1 + random_.below(n - 1) : 0;
  }
  bool end() override { return true; }

 protected:
  SplitMix random_;

 private:
  std::uint32_t chances_ = 0;       // for a mishap in this schedule
  std::uint32_t most_chances_ = 8;  // in any
};

/// Burckhardt, Kothari, Musuvathi, Nagarakatte, "A randomized scheduler with probabilistic guarantees of finding bugs"
/// (ASPLOS 2010): random priorities, and depth - 1 moments at which the running thread falls behind all others. A bug
/// that needs `depth` orderings in a program of n threads and k steps shows with probability 1 / (n k^(depth-1)) or
/// more. Different here: k is the longest schedule seen so far, and a thread that gives way falls behind as well.
class PctChooser final : public RandomChooser {
 public:
  PctChooser(std::uint64_t seed, unsigned depth) : RandomChooser{seed}, changes_(depth > 0 ? depth - 1 : 0) {}

  std::uint32_t begin() override {
    priorities_.clear();
    for (std::uint32_t& change : changes_) {
      change = random_.below(longest_);
    }
    now_ = 0;
    lowest_ = 0;
    return RandomChooser::begin();
  }

  void step(const Fiber& running) override {
    for (std::size_t i = 0; i < changes_.size(); ++i) {
      if (changes_[i] == now_) {
        priority(running) = static_cast<std::int64_t>(i) + 1;
      }
    }
    ++now_;
  }

  std::uint32_t thread(const std::vector<Fiber*>& ready, bool /*free*/) override {
    std::uint32_t best = 0;
    for (std::uint32_t i = 1; i < ready.size(); ++i) {
      if (priority(*ready[i]) > priority(*ready[best])) {
        best = i;
      }
    }
    return best;
  }

  void yielded(const Fiber& fiber) override { priority(fiber) = --lowest_; }

  bool end() override {
    longest_ = now_ > longest_ ? now_ : longest_;
    return true;
  }

 private:
  std::int64_t& priority(const Fiber& fiber) {
    while (priorities_.size() <= fiber.number) {
      priorities_.push_back(static_cast<std::int64_t>(random_.next() >> 2U) +
                            static_cast<std::int64_t>(changes_.size()) + 1);
    }
    return priorities_[fiber.number];
  }

  std::vector<std::int64_t> priorities_;  // by the number of the thread; the highest runs
  std::vector<std::uint32_t> changes_;    // at which step the running thread gets the priority 1, 2, …
  std::uint32_t now_ = 0;
  std::uint32_t longest_ = 1;
  std::int64_t lowest_ = 0;
};

/// Every schedule with at most `preemptions` preemptions, those with fewer first: Musuvathi and Qadeer, "Iterative
/// context bounding for systematic testing of multithreaded programs" (PLDI 2007). Different here: each round
/// goes through the schedules of the rounds before again; they are few compared to its own.
class DepthFirstChooser final : public Chooser {
 public:
  DepthFirstChooser(std::uint32_t seed, unsigned preemptions) noexcept : seed_{seed}, preemptions_{preemptions} {}

  [[nodiscard]] bool complete() const noexcept override { return complete_; }

  std::uint32_t begin() override {
    depth_ = 0;
    used_ = 0;
    return seed_;
  }

  std::uint32_t thread(const std::vector<Fiber*>& ready, bool free) override {
    const auto n = static_cast<std::uint32_t>(ready.size());
    if (free) {
      return descend(n);
    }
    if (used_ == bound_) {
      cut_ = true;
      return 0;
    }
    const std::uint32_t picked = descend(n);
    used_ += picked != 0 ? 1U : 0U;
    return picked;
  }

  std::uint32_t sleeper(std::uint32_t n) override { return descend(n); }
  std::uint32_t mishap(std::uint32_t n) override { return descend(n); }

  bool end() override {
    while (!path_.empty() && path_.back().picked + 1 == path_.back().of) {
      path_.pop_back();
    }
    if (!path_.empty()) {
      ++path_.back().picked;
      return true;
    }
    if (cut_ && bound_ < preemptions_) {
      ++bound_;
      cut_ = false;
      return true;
    }
    complete_ = true;
    return false;
  }

 private:
  /// The way to where the last schedule left off, then first alternatives. A program that does not repeat itself has
  /// another number of them there: then no valid answer.
  std::uint32_t descend(std::uint32_t n) {
    if (depth_ == path_.size()) {
      path_.push_back({0, n});
    }
    const Choice& choice = path_[depth_++];
    return choice.of == n ? choice.picked : n;
  }

  std::uint32_t seed_;
  unsigned preemptions_;
  unsigned bound_ = 0;  // of this round
  unsigned used_ = 0;   // in this schedule
  bool cut_ = false;    // the bound has hidden something in this round
  bool complete_ = false;
  std::size_t depth_ = 0;
  std::vector<Choice> path_;
};

/// A hash of these choices and of all before them, of which `before` is the hash. It is computed after each schedule, so it
/// has a multiplication for each choice, and mixes well only at the end.
inline std::uint64_t fingerprint(std::uint64_t before, const std::vector<Choice>& choices) noexcept {
  std::uint64_t hash = before;
  for (const Choice& choice : choices) {
    hash = (hash + choice.picked * 65'537U + choice.of) * 0xd1342543de82ef95U;
  }
  return SplitMix{hash}.next();
}

/// A schedule as text: c1-<seed>-<decisions>-<check>. A decision is a letter (a = 0) or a number between
/// underscores, followed by how often it comes in a row, if more than once. Zeros at the end are left out. The check is
/// a hash of all decisions and their alternatives: a replay that took another way has another one.
struct Replay {
  std::uint32_t seed = 0;
  std::vector<std::uint32_t> picks;
  std::uint32_t check = 0;

  static std::uint32_t check_of(const std::vector<Choice>& choices) noexcept {
    return static_cast<std::uint32_t>(fingerprint(0, choices));
  }

  static std::string text_of(std::uint32_t seed, const std::vector<Choice>& choices) {
    std::size_t length = choices.size();
    while (length > 0 && choices[length - 1].picked == 0) {
      --length;
    }
    std::string text = "c1-" + hex(seed) + "-";
    for (std::size_t i = 0, run = 0; i < length; i += run) {
      const std::uint32_t picked = choices[i].picked;
      for (run = 1; i + run < length && choices[i + run].picked == picked; ++run) {
      }
      if (picked < 26) {
        text += static_cast<char>('a' + picked);
      } else {
        text.append(1, '_').append(std::to_string(picked)).append(1, '_');
      }
      text += run > 1 ? std::to_string(run) : std::string{};
    }
    return text + "-" + hex(check_of(choices));
  }

  /// @return nothing if the text is no replay string.
  static std::optional<Replay> parse(std::string_view text) {
    Replay replay;
    const auto take = [&text](std::string_view what) {
      return text.starts_with(what) ? (text.remove_prefix(what.size()), true) : false;
    };
    if (!take("c1-") || !number(text, 16, replay.seed) || !take("-")) {
      return std::nullopt;
    }
    while (!text.empty() && text.front() != '-') {
      std::uint32_t picked = 0;
      if (text.front() >= 'a' && text.front() <= 'z') {
        picked = static_cast<std::uint32_t>(text.front() - 'a');
        text.remove_prefix(1);
      } else if (!take("_") || !number(text, 10, picked) || !take("_")) {
        return std::nullopt;
      }
      std::uint32_t run = 1;
      const bool counted = !text.empty() && text.front() >= '0' && text.front() <= '9';
      if (counted && (!number(text, 10, run) || run < 2 || run > kLongest)) {
        return std::nullopt;
      }
      replay.picks.insert(replay.picks.end(), run, picked);
      if (replay.picks.size() > kLongest) {
        return std::nullopt;
      }
    }
    return take("-") && number(text, 16, replay.check) && text.empty() ? std::optional{replay} : std::nullopt;
  }

 private:
  static constexpr std::uint32_t kLongest = 1U << 28U;

  static std::string hex(std::uint32_t value) {
    std::string text;
    do {
      text.insert(text.begin(), "0123456789abcdef"[value % 16]);
      value /= 16;
    } while (value != 0);
    return text;
  }

  static bool number(std::string_view& text, unsigned base, std::uint32_t& value) {
    std::uint64_t sum = 0;
    std::size_t length = 0;
    for (; length < text.size(); ++length) {
      const char c = text[length];
      const unsigned digit = c >= '0' && c <= '9'   ? static_cast<unsigned>(c - '0')
                             : c >= 'a' && c <= 'f' ? static_cast<unsigned>(c - 'a') + 10
                                                    : base;
      if (digit >= base) {
        break;
      }
      sum = sum * base + digit;
      if (sum > 0xffffffffU) {
        return false;
      }
    }
    text.remove_prefix(length);
    value = static_cast<std::uint32_t>(sum);
    return length > 0;
  }
};

/// The decisions of a replay string, then first alternatives.
class ReplayChooser final : public Chooser {
 public:
  explicit ReplayChooser(Replay replay) : replay_{std::move(replay)} {}

  std::uint32_t begin() override { return replay_.seed; }
  std::uint32_t thread(const std::vector<Fiber*>& /*ready*/, bool /*free*/) override { return next(); }
  std::uint32_t sleeper(std::uint32_t /*n*/) override { return next(); }
  std::uint32_t mishap(std::uint32_t /*n*/) override { return next(); }
  bool end() override { return false; }

  [[nodiscard]] std::uint32_t check() const noexcept { return replay_.check; }

 private:
  std::uint32_t next() { return position_ < replay_.picks.size() ? replay_.picks[position_++] : 0; }

  Replay replay_;
  std::size_t position_ = 0;
};

}  // namespace conc::inline CONC_ABI::detail
