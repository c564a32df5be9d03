// SPDX-License-Identifier: MIT
/// @file
/// How the explorer tells a schedule: which thread stands where, and what it did.
#pragma once

#include <algorithm>
#include <chrono>
#include <conc/detail/backtrace.hpp>
#include <conc/detail/fiber.hpp>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace conc::inline CONC_ABI::detail {

/// What a thread did: the operation is a string literal, the address an object's, or a Fiber's for a thread, or null.
struct Step {
  const char* operation;
  const void* address;
  unsigned thread;
};

/// Tells of one schedule, as it stands at this moment.
class Narrator {
 public:
  using Fibers = std::span<const std::unique_ptr<Fiber>>;

  Narrator(Fibers fibers, const sync::simulated::Task* running, sync::TimePoint now) noexcept
      : fibers_{fibers}, running_{running}, now_{now} {}

  /// All threads: what each is about, and its stack if it has been noted.
  std::string threads() {
    std::string text;
    for (const auto& fiber : fibers_) {
      text += "  " + name(*fiber) + " " + doing(*fiber) + "\n";
      text += describe_frames(fiber->frames, fiber->frame_count);
    }
    return text;
  }

  std::string step(std::uint64_t number, const Step& step) {
    std::string text = "    " + std::to_string(number) + "  " + name(*fibers_[step.thread]) + "  " + step.operation;
    if (step.address != nullptr) {
      text.append(1, ' ').append(label(step.address));
    }
    return text.append(1, '\n');
  }

 private:
  static std::string name(const Fiber& fiber) {
    const std::string number = "thread " + std::to_string(fiber.number);
    return fiber.name[0] != '\0' ? number + " \"" + fiber.name + "\"" : number;
  }

  /// A short name for an address, the same for the same address all through a report.
  std::string label(const void* address) {
    for (const auto& fiber : fibers_) {
      if (address == fiber.get()) {
        return name(*fiber);
      }
    }
    const auto found = std::find(addresses_.begin(), addresses_.end(), address);
    const auto index = found - addresses_.begin();
    if (found == addresses_.end()) {
      addresses_.push_back(address);
    }
    return std::string(1, '#').append(std::to_string(index + 1));
  }

  std::string doing(const Fiber& fiber) {
    using State = Fiber::State;
    switch (fiber.state) {
      case State::fresh:
        return "has not begun";
      case State::ended:
        return "has ended";
      case State::joining:
        return "joins " + name(*fiber.joins);
      case State::ready:
        return &fiber == running_      ? "runs"
               : fiber.yielded         ? "can run, and gave way"
               : fiber.next != nullptr ? std::string{"can run; next: "} + fiber.next
                                       : "can run";
      case State::asleep:
        break;
    }
    const char* const operation = fiber.record.waits_in.load(mo::relaxed);  // relaxed, twice: one OS thread
    const void* const object = fiber.record.waits_for.load(mo::relaxed);
    std::string text = operation != nullptr ? std::string{"waits in "} + operation + " for " + label(object)
                                            : "sleeps on " + label(fiber.sleeps_on);
    if (fiber.until != sync::forever) {
      const auto left = std::chrono::duration_cast<std::chrono::microseconds>(fiber.until - now_).count();
      text += " for " + std::to_string(left) + " us more";
    }
    return text;
  }

  const Fibers fibers_;
  const sync::simulated::Task* const running_;
  const sync::TimePoint now_;
  std::vector<const void*> addresses_;  // in the order they were told of
};

}  // namespace conc::inline CONC_ABI::detail
