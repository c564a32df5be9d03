// SPDX-License-Identifier: MIT
/// @file
/// ThreadValues: the values that threads have of one ThreadLocal.
#pragma once

#include <conc/detail/ref.hpp>
#include <conc/detail/sync.hpp>
#include <conc/lock.hpp>
#include <cstdint>
#include <new>
#include <optional>
#include <utility>

namespace conc::inline CONC_ABI::detail {

class AnyThreadValues;

/// One thread's value. Belongs to the list of its thread, where only that looks for it, and to the list of its owner.
/// Whoever takes it off the owner's list, under the owner's lock, destroys the value: the thread when it ends, or the
/// owner when it goes.
class ThreadValue : public RefCounted {
 public:
  explicit ThreadValue(AnyThreadValues& all) noexcept;

  virtual void destroy() noexcept = 0;

  const Ref<AnyThreadValues> owner;
  const std::uint64_t thread = sync::this_thread_id();  // an exploration has many threads on one of the system's
  ThreadValue* next_of_thread = nullptr;

  // In the owner's list; guarded by its lock.
  ThreadValue* previous = nullptr;
  ThreadValue* next = nullptr;
  bool listed = false;
};

/// The list of all values of one ThreadLocal. Outlives that while threads have remains of it.
class AnyThreadValues : public RefCounted {
 public:
  void list(ThreadValue& value) {
    value.add_reference();
    const ScopedLock guard{lock_};
    value.next = first_;
    if (first_ != nullptr) {
      first_->previous = &value;
    }
    first_ = &value;
    value.listed = true;
  }

  /// Takes the value off the list and destroys it, unless that has happened or happens elsewhere.
  void take(ThreadValue& value) {
    {
      const ScopedLock guard{lock_};
      if (!value.listed) {
        return;
      }
      unlist(value);
    }
    value.destroy();
    value.drop_reference();
  }

  /// Destroys all values, on the calling thread.
  void take_all() {
    while (const std::optional<Ref<ThreadValue>> value = first()) {
      take(**value);
    }
  }

  /// For a thread that is about to be gone: its lists of its own are gone already.
  ThreadValue* find(std::uint64_t thread) {
    const ScopedLock guard{lock_};
    ThreadValue* value = first_;
    while (value != nullptr && value->thread != thread) {
      value = value->next;
    }
    return value;
  }

  /// Whether nobody will ask for the values any more.
  std::atomic<bool> gone{false};

 private:
  std::optional<Ref<ThreadValue>> first() {
    const ScopedLock guard{lock_};
    return first_ == nullptr ? std::nullopt : std::optional{Ref<ThreadValue>::share(first_)};
  }

  void unlist(ThreadValue& value) noexcept {
    (value.previous != nullptr ? value.previous->next : first_) = value.next;
    if (value.next != nullptr) {
      value.next->previous = value.previous;
    }
    value.listed = false;
  }

  Lock lock_;
  ThreadValue* first_ = nullptr;
};

inline ThreadValue::ThreadValue(AnyThreadValues& all) noexcept : owner{Ref<AnyThreadValues>::share(&all)} {}

/// The values of the calling thread; the one that was asked for last is the first.
[[gnu::visibility("default")]] inline thread_local constinit ThreadValue* thread_values = nullptr;
[[gnu::visibility("default")]] inline thread_local constinit bool thread_values_ended = false;

/// Destroys the values of its thread when that ends. Their destructors may make new ones, which follow.
struct ThreadValuesEnd {
  ThreadValuesEnd() noexcept = default;
  ThreadValuesEnd(const ThreadValuesEnd&) = delete;
  ThreadValuesEnd& operator=(const ThreadValuesEnd&) = delete;
  ~ThreadValuesEnd() {
    while (ThreadValue* const value = thread_values) {
      thread_values = value->next_of_thread;
      value->owner->take(*value);
      value->drop_reference();
    }
    thread_values_ended = true;
  }
};

/// Of a ThreadLocal<T>, with what makes a value.
template <class T>
class ThreadValues : public AnyThreadValues {
 public:
  /// The calling thread's value, or null.
  T* find() noexcept {
    const std::uint64_t me = sync::this_thread_id();
    for (ThreadValue** link = &thread_values; *link != nullptr; link = &(*link)->next_of_thread) {
      ThreadValue* const value = *link;
      if (value->owner.get() == this && value->thread == me) {
        *link = value->next_of_thread;
        value->next_of_thread = std::exchange(thread_values, value);
        return &static_cast<Value*>(value)->value;
      }
    }
    ThreadValue* const value = thread_values_ended ? AnyThreadValues::find(me) : nullptr;
    return value == nullptr ? nullptr : &static_cast<Value*>(value)->value;
  }

  /// Makes the calling thread's value, which has none.
  T& add() {
    const auto made = Ref<Value>::adopt(new Value{*this});  // what makes the value may use other ThreadLocals
    if (!thread_values_ended) {
      thread_local const ThreadValuesEnd end;
      (void)end;
      forget_gone();
      made->add_reference();
      made->next_of_thread = std::exchange(thread_values, made.get());
    }
    list(*made);
    return made->value;
  }

  /// Destroys the calling thread's value, if it has one.
  void remove() {
    const std::uint64_t me = sync::this_thread_id();
    for (ThreadValue** link = &thread_values; *link != nullptr; link = &(*link)->next_of_thread) {
      if ((*link)->owner.get() == this && (*link)->thread == me) {
        unlink(link);
        return;
      }
    }
    if (ThreadValue* const value = thread_values_ended ? AnyThreadValues::find(me) : nullptr; value != nullptr) {
      take(*value);
    }
  }

 protected:
  /// Makes a T at `place`.
  virtual void make(void* place) = 0;

 private:
  struct Value final : ThreadValue {
    explicit Value(ThreadValues& all) : ThreadValue{all} { all.make(&value); }
    ~Value() override {}
    void destroy() noexcept override { value.~T(); }
    union {
      T value;  // until destroy()
    };
  };

  /// Takes a value off the calling thread's list, and destroys it.
  static void unlink(ThreadValue** link) {
    ThreadValue* const value = *link;
    *link = value->next_of_thread;
    value->owner->take(*value);
    value->drop_reference();
  }

  /// So that a thread that meets many short-lived ThreadLocals does not keep the remains of all.
  static void forget_gone() {
    for (ThreadValue** link = &thread_values; *link != nullptr;) {
      if ((*link)->owner->gone.load(mo::relaxed)) {  // relaxed: nothing of it is looked at but under its lock
        unlink(link);
      } else {
        link = &(*link)->next_of_thread;
      }
    }
  }
};

template <class T, class F>
class ThreadValuesOf final : public ThreadValues<T> {
 public:
  explicit ThreadValuesOf(F&& fn) : fn_(std::move(fn)) {}

 private:
  void make(void* place) override { ::new (place) T(fn_()); }
  F fn_;
};

}  // namespace conc::inline CONC_ABI::detail
