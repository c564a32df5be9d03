// SPDX-License-Identifier: MIT
/// @file
/// Pairs of functions that lock_codegen compares: X_conc uses conc::Lock, X_hand a lock written by hand on std::atomic
/// and futex.
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <conc/deadline.hpp>
#include <conc/lock.hpp>
#include <cstdint>
#include <ctime>
#include <stdexcept>

// No anonymous namespace: of functions that only this file can call, the compiler would make special versions.
namespace hand {

/// Ulrich Drepper's mutex ("Futexes Are Tricky", 2011) with a time limit, and with a check on release.
class Lock {
 public:
  void acquire() noexcept {
    std::uint32_t free = 0;
    if (!word_.compare_exchange_strong(free, kHeld, std::memory_order_acquire, std::memory_order_relaxed))
        [[unlikely]] {
      acquire_contended(conc::never);
    }
  }
  void release() {
    std::uint32_t held = kHeld;
    if (!word_.compare_exchange_strong(held, kFree, std::memory_order_release, std::memory_order_relaxed))
        [[unlikely]] {
      release_contended(held);
    }
  }

 private:
  static constexpr std::uint32_t kFree = 0;
  static constexpr std::uint32_t kHeld = 1;
  static constexpr std::uint32_t kHeldAndWanted = 2;  // somebody may be asleep

  [[gnu::cold, gnu::noinline]] bool acquire_contended(conc::Deadline deadline) noexcept {
    const auto end = deadline.resolve().time_since_epoch();
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(end);
    const std::timespec until{seconds.count(), (end - seconds).count()};
    while (word_.exchange(kHeldAndWanted, std::memory_order_acquire) != kFree) {
      if (syscall(SYS_futex, &word_, FUTEX_WAIT_BITSET_PRIVATE, kHeldAndWanted, deadline.is_never() ? nullptr : &until,
                  nullptr, FUTEX_BITSET_MATCH_ANY) != 0 &&
          errno == ETIMEDOUT) {
        return false;
      }
    }
    return true;
  }

  [[gnu::cold, gnu::noinline]] void release_contended(std::uint32_t value) {
    if (value == kFree) {
      throw std::logic_error{"the lock is not held"};
    }
    word_.store(kFree, std::memory_order_release);
    syscall(SYS_futex, &word_, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
  }

  std::atomic<std::uint32_t> word_{kFree};
};

template <class L>
int next(L& lock, int& counter) {
  lock.acquire();
  const int value = ++counter;
  lock.release();
  return value;
}

}  // namespace hand

extern "C" {
void acquire_conc(conc::Lock& lock) { lock.acquire(); }
void acquire_hand(hand::Lock& lock) { lock.acquire(); }

void release_conc(conc::Lock& lock) { lock.release(); }
void release_hand(hand::Lock& lock) { lock.release(); }

int next_conc(conc::Lock& lock, int& counter) { return hand::next(lock, counter); }
int next_hand(hand::Lock& lock, int& counter) { return hand::next(lock, counter); }
}
