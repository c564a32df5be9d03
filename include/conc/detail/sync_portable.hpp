// SPDX-License-Identifier: MIT
/// @file
/// The native backend of the seam where there are no futexes, or where CONC_PORTABLE is defined: sleeping by address
/// made of mutexes and condition variables, and nothing else that POSIX and the standard library do not have.
/// Included by sync.hpp only.
///
/// Who is asleep stands in a list, and the address of the word decides in which: a table of lists, each with a mutex, as
/// WebKit's ParkingLot has it (Pizlo, "Locking in WebKit", 2016). No wake can be lost: a sleeper compares the word and
/// enters the list under the mutex that wake() takes after the word has changed. Whichever comes second sees the other.
#pragma once

#include <conc/detail/sync_posix.hpp>
#include <condition_variable>
#include <mutex>
#include <new>
#include <utility>

namespace conc::inline CONC_ABI::detail::sync::native {

/// The threads asleep on the words of some addresses. Mutex and Condition are the standard's, but for the explorer.
template <class Mutex, class Condition>
class alignas(64) Bucket {
 public:
  constexpr Bucket() noexcept : mutex_{} {}
  Bucket(const Bucket&) = delete;
  Bucket& operator=(const Bucket&) = delete;
  ~Bucket() {}  // the mutex is not destroyed: threads may still sleep while the process ends

  template <class AtomicWord>
  bool wait(const AtomicWord& word, typename AtomicWord::value_type expected, TimePoint end) {
    std::unique_lock<Mutex> lock{mutex_};
    // relaxed: the mutex orders it after what a waker did before it took the mutex.
    if (word.load(mo::relaxed) != expected) {
      return true;
    }
    Sleeper me{&word, last_};
    (last_ != nullptr ? last_->next : first_) = &me;
    last_ = &me;
    while (!me.woken) {
      if (end == forever) {
        me.wakes.wait(lock);
      } else if (me.wakes.wait_until(lock, end) == std::cv_status::timeout && !me.woken) {
        remove(me);
        return false;
      }
    }
    return true;
  }

  /// Those who came first go first.
  void wake(const void* address, std::uint32_t n) {
    const std::lock_guard<Mutex> lock{mutex_};
    Sleeper* next = first_;
    while (next != nullptr && n != 0) {
      Sleeper& sleeper = *std::exchange(next, next->next);
      if (sleeper.address == address) {
        remove(sleeper);
        sleeper.woken = true;
        sleeper.wakes.notify_one();  // under the mutex: it lies on the stack of a thread that needs it to go on
        --n;
      }
    }
  }

  /// Nobody sleeps here, nor holds the mutex.
  void reset() noexcept {
    ::new (&mutex_) Mutex{};
    first_ = last_ = nullptr;
  }

 private:
  /// One thread asleep. The mutex guards it.
  struct Sleeper {
    const void* const address;
    Sleeper* previous;
    Sleeper* next = nullptr;
    bool woken = false;  // and off the list
    Condition wakes{};
  };

  void remove(Sleeper& sleeper) noexcept {
    (sleeper.previous != nullptr ? sleeper.previous->next : first_) = sleeper.next;
    (sleeper.next != nullptr ? sleeper.next->previous : last_) = sleeper.previous;
  }

  union {
    Mutex mutex_;
  };
  Sleeper* first_ = nullptr;
  Sleeper* last_ = nullptr;
};

using Sleepers = Bucket<std::mutex, std::condition_variable>;

inline constexpr unsigned bucket_bits = 8;
[[gnu::visibility("default")]] inline constinit Sleepers buckets[1U << bucket_bits]{};

/// Words are at least four bytes apart. The multiplication (Fibonacci hashing: Knuth, volume 3, 6.4) makes the upper bits
/// of the product depend on all of the address.
inline Sleepers& bucket_of(const void* address) noexcept {
  const std::uint64_t key = reinterpret_cast<std::uintptr_t>(address) >> 2U;
  return buckets[key * 0x9e3779b97f4a7c15U >> (64 - bucket_bits)];
}

/// A forked child has one thread, and that one is awake. Without this a mutex that another thread held would be held for
/// ever, and the next thread on an inherited stack would overwrite a list.
inline void reset_buckets() noexcept {
  for (Sleepers& bucket : buckets) {
    bucket.reset();
  }
}
[[gnu::visibility("default")]] inline const int buckets_are_reset = pthread_atfork(nullptr, nullptr, &reset_buckets);

/// A condition variable lets a pthread_cancel(3) interrupt the wait, by an exception that callers do not expect.
class NoCancellation {
 public:
  NoCancellation() noexcept { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state_); }
  NoCancellation(const NoCancellation&) = delete;
  NoCancellation& operator=(const NoCancellation&) = delete;
  ~NoCancellation() {
    int ignored = 0;
    pthread_setcancelstate(state_, &ignored);
  }

 private:
  int state_ = PTHREAD_CANCEL_ENABLE;
};

template <class Word>
bool wait(const Atomic<Word>& word, Word expected, TimePoint end) noexcept {
  const KeepErrno keep;
  const NoCancellation uncancelled;
  return bucket_of(&word).wait(word, expected, end);
}

template <class Word = std::uint32_t>
void wake(const void* address, std::uint32_t n) noexcept {
  const KeepErrno keep;
  bucket_of(address).wake(address, n);
}

/// The CPU this thread runs on; a hint that may be stale at once, and no_cpu if the system does not tell.
inline std::uint32_t this_cpu() noexcept {
#if defined(__linux__)
  return static_cast<std::uint32_t>(sched_getcpu());
#else
  return no_cpu;
#endif
}

/// A thread, and what it is started with. It stays where it is until the thread has been joined.
struct ThreadHandle {
  pthread_t thread{};
  void* (*entry)(void*) = nullptr;
  void* argument = nullptr;
  std::size_t stack_size = 0;  // 0: the system's choice
  int rounds = 0;              // of the keys' destructors, so far
  std::atomic<bool> over{false};
};

/// Called again and again as the thread ends, as the destructors of other keys may be, which may be slow or ask for locks.
inline void note_end(void* argument);
[[gnu::visibility("default")]] inline const pthread_key_t end_key = [] {
  pthread_key_t key{};
  pthread_key_create(&key, &note_end);
  return key;
}();

inline void note_end(void* argument) {
  ThreadHandle& self = *static_cast<ThreadHandle*>(argument);
  if (++self.rounds < PTHREAD_DESTRUCTOR_ITERATIONS - 1) {
    pthread_setspecific(end_key, &self);
  } else {
    self.over.store(true, mo::release);  // release: pairs with try_join()
  }
}

/// The first function of every thread.
inline void* run(void* argument) {
  ThreadHandle& self = *static_cast<ThreadHandle*>(argument);
  pthread_setspecific(end_key, &self);
  std::size_t size = self.stack_size;
  pthread_attr_t attributes;
  if (size == 0 && pthread_attr_init(&attributes) == 0) {
    pthread_attr_getstacksize(&attributes, &size);
    pthread_attr_destroy(&attributes);
  }
  if (size != 0) {
    record.stack_middle = static_cast<const char*>(__builtin_frame_address(0)) - size / 2;
  }
  return self.entry(self.argument);
}

inline int start(ThreadHandle& thread, void* (*entry)(void*), void* argument, std::size_t stack_size) noexcept {
  thread.entry = entry;
  thread.argument = argument;
  thread.stack_size = stack_size;
  return start(thread.thread, &run, &thread, stack_size);
}

inline void join(const ThreadHandle& thread) noexcept { pthread_join(thread.thread, nullptr); }

/// Joins the thread if it is gone for good, destructors of its thread_locals included.
inline bool try_join(const ThreadHandle& thread) noexcept {
  if (!thread.over.load(mo::acquire)) {  // acquire: pairs with the end of run()
    return false;
  }
  join(thread);
  return true;
}

constexpr bool gone(const ThreadHandle& /*thread*/) noexcept { return false; }

/// run() has noted it.
inline const void* middle_of_stack() noexcept { return record.stack_middle; }

}  // namespace conc::inline CONC_ABI::detail::sync::native
