// SPDX-License-Identifier: MIT
/// @file
/// The simulated backend of the seam: inside an exploration (conc/testing.hpp) every operation asks the scheduler
/// first. Outside of one everything is native. Included by sync.hpp only, after a native backend.
#pragma once

#include <cerrno>
#include <cstring>
#include <type_traits>

namespace conc::inline CONC_ABI::detail::sync::simulated {

/// What the seam keeps of one simulated thread.
struct Task {
  ThreadRecord record;
  char name[16] = {};
  unsigned number = 0;       // 0 is the program itself, then in the order of start()
  unsigned unscheduled = 0;  // guards alive
};

/// What an exploration does for the thread that runs. detail/explorer.hpp implements it.
class Machine {
 public:
  Task* running = nullptr;
  std::uint64_t run = 0;  // of the program: a number never used again in this process, and never 0

  /// A scheduling point, before `operation` takes place: another thread may run first.
  virtual void point(const char* operation, const void* address) noexcept = 0;
  virtual void give_way() noexcept = 0;
  virtual bool sleep(const void* address, TimePoint end) noexcept = 0;
  virtual void rouse(const void* address, std::uint32_t n) noexcept = 0;
  /// Whether a weak exchange that could take place fails all the same.
  virtual bool fails_weakly(const void* address) noexcept = 0;
  /// Starts a thread. @return null if there is no memory for its stack
  virtual const Task* start(void* (*entry)(void*), void* argument) noexcept = 0;
  virtual void join(unsigned number) noexcept = 0;
  virtual bool ended(unsigned number) noexcept = 0;
  virtual TimePoint now() noexcept = 0;
  virtual std::uint32_t random() noexcept = 0;
  [[noreturn]] virtual void fail(const char* what) noexcept = 0;

 protected:
  ~Machine() = default;
};

/// The exploration that runs on this OS thread, or null.
[[gnu::visibility("default")]] inline thread_local constinit Machine* machine = nullptr;

inline constexpr unsigned spin_limit = 0;  // straight to sleep: what happens there is to be explored
inline constexpr unsigned patience = 1;    // the first lost race already takes the rare path
inline constexpr unsigned deepest = 2;     // likewise the third task on a stack

inline bool scheduled() noexcept { return machine != nullptr && machine->running->unscheduled == 0; }

inline void point(const char* operation, const void* address) noexcept {
  if (scheduled()) {
    machine->point(operation, address);
  }
}

/// std::atomic with a scheduling point before each operation. A weak exchange fails for no reason where the exploration
/// says so.
template <class T>
class Atomic {
 public:
  using value_type = T;
  using Delta = std::conditional_t<std::is_pointer_v<T>, std::ptrdiff_t, T>;
  static constexpr bool is_always_lock_free = std::atomic<T>::is_always_lock_free;

  constexpr Atomic() noexcept(std::is_nothrow_default_constructible_v<T>) = default;
  constexpr Atomic(T value) noexcept : value_{value} {}  // NOLINT(google-explicit-constructor): as std::atomic
  Atomic(const Atomic&) = delete;
  Atomic& operator=(const Atomic&) = delete;

  [[nodiscard]] bool is_lock_free() const noexcept { return value_.is_lock_free(); }

  T load(std::memory_order order = mo::seq_cst) const noexcept { return at("load").load(order); }
  void store(T value, std::memory_order order = mo::seq_cst) noexcept { at("store").store(value, order); }
  T exchange(T value, std::memory_order order = mo::seq_cst) noexcept { return at("exchange").exchange(value, order); }

  bool compare_exchange_weak(T& expected, T value, std::memory_order order = mo::seq_cst) noexcept {
    return compare_exchange_weak(expected, value, order,
                                 order == mo::acq_rel   ? mo::acquire
                                 : order == mo::release ? mo::relaxed
                                                        : order);
  }
  bool compare_exchange_weak(T& expected, T value, std::memory_order done, std::memory_order failed) noexcept {
    std::atomic<T>& word = at("compare_exchange");
    if (scheduled()) {
      const T seen = word.load(mo::relaxed);  // relaxed: only to see whether the exchange could take place
      if (std::memcmp(&seen, &expected, sizeof(T)) == 0 && machine->fails_weakly(this)) {
        expected = word.load(failed);
        return false;
      }
    }
    return word.compare_exchange_strong(expected, value, done, failed);
  }
  bool compare_exchange_strong(T& expected, T value, std::memory_order order = mo::seq_cst) noexcept {
    return at("compare_exchange").compare_exchange_strong(expected, value, order);
  }
  bool compare_exchange_strong(T& expected, T value, std::memory_order done, std::memory_order failed) noexcept {
    return at("compare_exchange").compare_exchange_strong(expected, value, done, failed);
  }

  // Each exists where std::atomic<T> has it: a member of a template is compiled when it is called.
  T fetch_add(Delta n, std::memory_order order = mo::seq_cst) noexcept { return at("fetch_add").fetch_add(n, order); }
  T fetch_sub(Delta n, std::memory_order order = mo::seq_cst) noexcept { return at("fetch_sub").fetch_sub(n, order); }
  T fetch_and(T bits, std::memory_order order = mo::seq_cst) noexcept { return at("fetch_and").fetch_and(bits, order); }
  T fetch_or(T bits, std::memory_order order = mo::seq_cst) noexcept { return at("fetch_or").fetch_or(bits, order); }
  T fetch_xor(T bits, std::memory_order order = mo::seq_cst) noexcept { return at("fetch_xor").fetch_xor(bits, order); }
  T operator++() noexcept { return ++at("fetch_add"); }
  T operator++(int) noexcept { return at("fetch_add")++; }
  T operator--() noexcept { return --at("fetch_sub"); }
  T operator--(int) noexcept { return at("fetch_sub")--; }
  T operator+=(Delta n) noexcept { return at("fetch_add") += n; }
  T operator-=(Delta n) noexcept { return at("fetch_sub") -= n; }
  T operator&=(T bits) noexcept { return at("fetch_and") &= bits; }
  T operator|=(T bits) noexcept { return at("fetch_or") |= bits; }
  T operator^=(T bits) noexcept { return at("fetch_xor") ^= bits; }
  T operator=(T value) noexcept {  // NOLINT(misc-unconventional-assign-operator): as std::atomic
    store(value);
    return value;
  }
  operator T() const noexcept { return load(); }  // NOLINT(google-explicit-constructor): as std::atomic

 private:
  template <class Word>
  friend bool wait(const Atomic<Word>& word, Word expected, TimePoint end) noexcept;

  std::atomic<T>& at(const char* operation) noexcept {
    point(operation, this);
    return value_;
  }
  const std::atomic<T>& at(const char* operation) const noexcept {
    point(operation, this);
    return value_;
  }

  std::atomic<T> value_;
};

/// Compares four bytes, as the kernel does.
template <class Word>
bool wait(const Atomic<Word>& word, Word expected, TimePoint end) noexcept {
  if (machine == nullptr) {
    return native::wait(word.value_, expected, end);
  }
  const Word value = word.at("wait").load(mo::relaxed);  // relaxed: one OS thread runs the whole exploration
  return static_cast<std::uint32_t>(value) != static_cast<std::uint32_t>(expected) || machine->sleep(&word, end);
}

template <class Word = std::uint32_t>
void wake(const void* address, std::uint32_t n) noexcept {
  if (machine == nullptr) {
    native::wake<Word>(address, n);
    return;
  }
  point("wake", address);
  machine->rouse(address, n);
}

inline ThreadRecord& this_thread() noexcept { return machine ? machine->running->record : native::this_thread(); }
inline TimePoint now() noexcept { return machine ? machine->now() : native::now(); }
inline std::uint32_t random() noexcept { return machine ? machine->random() : native::random(); }
inline void pause() noexcept { machine ? machine->give_way() : native::pause(); }
inline void yield() noexcept { machine ? machine->give_way() : native::yield(); }

/// Two simulated threads share a CPU, as far as they can tell.
inline std::uint32_t this_cpu() noexcept { return machine ? machine->running->number / 2 : native::this_cpu(); }
inline std::uint64_t native_thread_id() noexcept {
  return machine ? machine->running->number + 1U : native::native_thread_id();
}

using native::process_id;

/// A simulated thread's stack is the explorer's to watch.
inline const void* middle_of_stack() noexcept { return machine ? nullptr : native::middle_of_stack(); }
inline bool stack_is_short() noexcept { return machine == nullptr && native::stack_is_short(); }

inline bool exploring() noexcept { return machine != nullptr; }

/// The thread that runs the program is the main thread of each of its runs.
inline bool is_main_thread() noexcept { return machine ? machine->running->number == 0 : native::is_main_thread(); }

struct ThreadHandle {
  native::ThreadHandle native{};
  std::uint64_t run = 0;  // the Machine::run it belongs to; 0 for a native thread
  unsigned number = 0;    // within its run
};

inline bool gone(const ThreadHandle& thread) noexcept {
  return thread.run != 0 && (machine == nullptr || machine->run != thread.run);
}

/// The stack size of simulated threads is that of the exploration.
inline int start(ThreadHandle& thread, void* (*entry)(void*), void* argument, std::size_t stack_size) noexcept {
  thread.run = 0;
  if (machine == nullptr) {
    return native::start(thread.native, entry, argument, stack_size);
  }
  const Task* const task = machine->start(entry, argument);
  if (task == nullptr) {
    return EAGAIN;
  }
  thread.run = machine->run;
  thread.number = task->number;
  return 0;
}

inline void join(const ThreadHandle& thread) noexcept {
  if (thread.run == 0) {
    native::join(thread.native);
  } else if (!gone(thread)) {
    machine->join(thread.number);
  }
}

inline bool try_join(const ThreadHandle& thread) noexcept {
  return thread.run == 0 ? native::try_join(thread.native) : gone(thread) || machine->ended(thread.number);
}

inline void set_thread_name(const char* name) noexcept {
  if (machine == nullptr) {
    native::set_thread_name(name);
    return;
  }
  char* kept = machine->running->name;
  for (std::size_t i = 0; i + 1 < sizeof Task::name && name[i] != '\0'; ++i) {
    *kept++ = name[i];
  }
  *kept = '\0';
}

class Unscheduled {
 public:
  Unscheduled() noexcept : task_{machine ? machine->running : nullptr} {
    if (task_ != nullptr) {
      ++task_->unscheduled;
    }
  }
  ~Unscheduled() {
    if (task_ != nullptr) {
      --task_->unscheduled;
    }
  }
  Unscheduled(const Unscheduled&) = delete;
  Unscheduled& operator=(const Unscheduled&) = delete;

 private:
  Task* task_;
};

}  // namespace conc::inline CONC_ABI::detail::sync::simulated
