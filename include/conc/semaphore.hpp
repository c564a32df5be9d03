// SPDX-License-Identifier: MIT
/// @file
/// Semaphore and BoundedSemaphore.
#pragma once

#include <conc/deadline.hpp>
#include <conc/detail/sync.hpp>
#include <conc/detail/wait_point.hpp>
#include <conc/error.hpp>
#include <cstdint>
#include <string>

namespace conc::inline CONC_ABI {

/// A count of permits: acquire() takes one and waits while there is none, release(n) adds n.
///
/// @par Thread safety   every member from any thread at any time, but for the destructor.
/// @par Memory ordering what a thread did before release() is visible to whoever acquires a permit it added.
/// @par Lifetime        a thread whose acquire() returned may destroy the Semaphore, even while the release() that let
///                      it in is still returning; but not while another acquire() is.
/// @par Cost            one compare-and-swap each way while permits last; otherwise a short spin, then one system call.
/// @par Python          threading.Semaphore.
class Semaphore {
 public:
  /// @param permits  how many threads may acquire at first.
  /// @throws UsageError if negative or over max_permits().
  constexpr explicit Semaphore(std::int64_t permits = 1) : word_{checked(permits) * kPermit} {}
  Semaphore(const Semaphore&) = delete;
  Semaphore& operator=(const Semaphore&) = delete;

  /// The largest number of permits.
  [[nodiscard]] static constexpr std::int64_t max_permits() noexcept { return 0x7fffffff; }

  /// Takes a permit, waiting for one if need be.
  /// @return true, always.
  bool acquire() noexcept {
    if (!take()) [[unlikely]] {
      wait_for_permit(never);
    }
    return true;
  }

  /// Takes a permit, or gives up at `deadline`.
  /// @return whether a permit was taken.
  [[nodiscard]] bool acquire(Deadline deadline) noexcept { return take() || wait_for_permit(deadline); }

  /// Takes a permit if there is one right now.
  [[nodiscard]] bool try_acquire() noexcept { return take(); }

  /// Adds n permits and wakes up to n waiters.
  /// @throws UsageError if n < 1, or if there would be more than max_permits() permits; the count is unchanged then.
  void release(std::int64_t n = 1) { give(n, max_permits(), "Semaphore"); }

  /// The names that ScopedLock and std::lock_guard look for: a permit for as long as a block lasts.
  void lock() noexcept { acquire(); }
  [[nodiscard]] bool try_lock() noexcept { return take(); }
  void unlock() { release(); }

  /// How many permits are left; out of date as soon as it is known.
  [[nodiscard]] std::int64_t value() const noexcept {
    return word_.load(detail::mo::relaxed) / kPermit;  // relaxed: a hint, orders nothing
  }

 protected:
  void give(std::int64_t n, std::int64_t bound, const char* type) {
    const void* const address = &word_;                   // taken now: whoever gets in may destroy *this
    std::uint32_t old = word_.load(detail::mo::relaxed);  // relaxed: a guess; the exchange checks it
    std::uint32_t next = 0;
    do {
      const std::int64_t permits = old / kPermit;
      if (n < 1 || n > bound - permits) [[unlikely]] {
        refuse(n, permits, bound, type);
      }
      next = static_cast<std::uint32_t>(permits + n) * kPermit;  // drops kSleepers: the woken raise it again
      // release (1): pairs with the acquire (1) of those who take the permits.
    } while (!word_.compare_exchange_weak(old, next, detail::mo::release, detail::mo::relaxed));
    if ((old & kSleepers) != 0) {
      detail::sync::wake(address, static_cast<std::uint32_t>(n));
    }
  }

 private:
  // word_ = permits << 1 | kSleepers; see detail::await for who raises and drops the bit.
  // Legal: kSleepers with nobody asleep (a waiter timed out), or with permits left: one needless wake.
  static constexpr std::uint32_t kSleepers = 1;
  static constexpr std::uint32_t kPermit = 2;

  static constexpr std::uint32_t checked(std::int64_t permits) {
    if (permits < 0 || permits > max_permits()) {
      detail::throw_usage_error("Semaphore: " + std::to_string(permits) + " permits; 0 to 2147483647 are possible");
    }
    return static_cast<std::uint32_t>(permits);
  }

  [[noreturn, gnu::cold, gnu::noinline]] static void refuse(std::int64_t n, std::int64_t permits, std::int64_t bound,
                                                            const char* type) {
    const std::string call = std::string{type} + "::release(" + std::to_string(n) + "): ";
    detail::throw_usage_error(n < 1 ? call + "at least 1 must be released"
                                    : call + std::to_string(permits) + " of at most " + std::to_string(bound) +
                                          " permits are there already");
  }

  bool take() noexcept {
    std::uint32_t value = word_.load(detail::mo::relaxed);  // relaxed: a guess; the exchange checks it
    return take(value);
  }

  bool take(std::uint32_t& value) noexcept {
    while (value >= kPermit) {
      // acquire (1): pairs with release (1).
      if (word_.compare_exchange_weak(value, value - kPermit, detail::mo::acquire, detail::mo::relaxed)) {
        return true;
      }
    }
    return false;
  }

  [[gnu::cold, gnu::noinline]] bool wait_for_permit(Deadline deadline) noexcept {
    const detail::Waited waited =
        detail::await(word_, kSleepers, deadline, detail::Spin{}, {"Semaphore::acquire", this},
                      [this](std::uint32_t& value) { return take(value); });
    if (waited == detail::Waited::slept) {
      pass_on();
    }
    return waited != detail::Waited::timed_out;
  }

  /// Releases that came while the bit was down woke nobody: if permits are left, the next sleeper must look.
  void pass_on() noexcept {
    std::uint32_t value = word_.load(detail::mo::relaxed);  // relaxed: the exchange checks it
    while (value >= kPermit && (value & kSleepers) != 0) {
      // relaxed: the permits were published by their release() calls, whose release sequence this continues.
      if (word_.compare_exchange_weak(value, value & ~kSleepers, detail::mo::relaxed, detail::mo::relaxed)) {
        detail::sync::wake(&word_, value / kPermit);
        return;
      }
    }
  }

  detail::sync::Atomic<std::uint32_t> word_;
};
static_assert(sizeof(Semaphore) == 4);

/// A Semaphore that never holds more permits than it was made with: one release too many is an error.
///
/// @par Python  threading.BoundedSemaphore.
class BoundedSemaphore : private Semaphore {
 public:
  constexpr explicit BoundedSemaphore(std::int64_t permits = 1) : Semaphore{permits}, bound_{permits} {}

  using Semaphore::acquire;
  using Semaphore::lock;
  using Semaphore::max_permits;
  using Semaphore::try_acquire;
  using Semaphore::try_lock;
  using Semaphore::value;
  void unlock() { release(); }

  /// As Semaphore::release.
  /// @throws UsageError also if there would be more permits than at first; the count is unchanged then.
  void release(std::int64_t n = 1) { give(n, bound_, "BoundedSemaphore"); }

 private:
  std::int64_t bound_;
};

}  // namespace conc::inline CONC_ABI
