// SPDX-License-Identifier: MIT
/// @file
/// Correct uses of locks, about which clang's thread safety analysis must not complain. What it must complain about:
/// tests/compile_fail/annotations_*.cpp.
#include <conc/conc.hpp>

#include <chrono>
#include <mutex>
#include <utility>
#include <vector>

using namespace std::chrono_literals;

class Account {
 public:
  void guard() CONC_EXCLUDES(lock_) {
    const conc::ScopedLock guard{lock_};
    ++balance_;
    *pointed_to_ = balance_;
  }

  int by_hand() CONC_EXCLUDES(lock_) {
    lock_.acquire();
    const int balance = balance_;
    lock_.release();
    lock_.lock();
    ++balance_;
    lock_.unlock();
    return balance;
  }

  bool attempts() CONC_EXCLUDES(lock_) {
    if (lock_.try_acquire()) {
      ++balance_;
      lock_.release();
    }
    if (lock_.acquire(10ms)) {
      ++balance_;
      lock_.release();
    }
    if (!lock_.try_lock_for(10ms)) return false;
    ++balance_;
    lock_.unlock();
    if (!lock_.try_lock_until(std::chrono::steady_clock::now())) return false;
    ++balance_;
    lock_.unlock();
    return true;
  }

  void add_held(int amount) CONC_REQUIRES(lock_) { balance_ += amount; }

  void with_a_helper() {
    const conc::ScopedLock guard{lock_};
    add_held(1);
  }

  static void transfer(Account& from, Account& to) {
    const conc::ScopedLock both{from.lock_, to.lock_};
    --from.balance_;
    to.add_held(1);
  }

  void wait_for_money() {
    const conc::ScopedLock guard{lock_};
    changed_.wait();
    changed_.wait_for([this]() CONC_REQUIRES(lock_) { return balance_ > 0; });
    if (changed_.wait_for([this]() CONC_REQUIRES(lock_) { return balance_ > 1; }, 1s)) --balance_;
    changed_.notify();
    changed_.notify_all();
  }

  conc::Lock& lock() CONC_RETURN_CAPABILITY(lock_) { return lock_; }
  void begin() CONC_ACQUIRE(lock_) { lock_.acquire(); }
  void end() CONC_RELEASE(lock_) { lock_.release(); }

  // The analysis cannot follow a lock that is handed to another thread.
  void hand_over() CONC_NO_THREAD_SAFETY_ANALYSIS { lock_.acquire(); }

  int balance_ CONC_GUARDED_BY(lock_) = 0;

 private:
  int storage_ = 0;
  conc::Lock lock_;
  int* pointed_to_ CONC_PT_GUARDED_BY(lock_) = &storage_;
  conc::Condition<conc::Lock> changed_{lock_};
};

class Table {
 public:
  int read() {
    const conc::ScopedSharedLock guard{lock_};
    return total_;
  }
  int read_by_hand() {
    lock_.acquire_shared();
    int total = total_;
    lock_.release_shared();
    if (lock_.try_acquire_shared()) {
      total = total_;
      lock_.release_shared();
    }
    if (lock_.acquire_shared(1ms)) {
      total = total_;
      lock_.unlock_shared();
    }
    return total;
  }
  void write() {
    const conc::ScopedLock guard{lock_};
    ++total_;
    read_held();
  }
  int read_held() CONC_REQUIRES_SHARED(lock_) { return total_; }

 private:
  conc::RWLock lock_;
  int total_ CONC_GUARDED_BY(lock_) = 0;
};

/// A Condition with a lock of its own is a lock.
class Mailbox {
 public:
  void put(int letter) {
    const conc::ScopedLock guard{ready_};
    letters_.push_back(letter);
    ready_.notify();
  }
  int get() {
    const conc::ScopedLock guard{ready_};
    ready_.wait_for([this]() CONC_REQUIRES(ready_) { return !letters_.empty(); });
    const int letter = letters_.back();
    letters_.pop_back();
    return letter;
  }

 private:
  conc::Condition<> ready_;
  std::vector<int> letters_ CONC_GUARDED_BY(ready_);
};

class Recursive {
 public:
  void outer() {
    const conc::ScopedLock guard{lock_};
    inner();  // takes it again, in a function of its own
  }
  void inner() {
    if (!lock_.acquire(1s)) return;
    ++depth_;
    lock_.release();
  }

 private:
  conc::RLock lock_;
  int depth_ CONC_GUARDED_BY(lock_) = 0;
};

template <class L>
int synchronized(conc::Synchronized<int, L>& value) {
  value.with([](int& inside) { ++inside; });
  *value.lock() += 1;
  if (auto guard = value.try_lock()) ++*guard;
  return *std::as_const(value).lock() + std::as_const(value).with([](const int& inside) { return inside; });
}

int main() {
  Account a;
  Account b;
  a.guard();
  a.by_hand();
  a.attempts();
  a.with_a_helper();
  Account::transfer(a, b);
  {
    const conc::ScopedLock guard{a.lock()};
    a.add_held(1);
  }
  b.begin();
  ++b.balance_;
  b.end();
  Table table;
  table.write();
  table.read_by_hand();
  Mailbox mailbox;
  mailbox.put(1);
  Recursive{}.outer();
  conc::Synchronized<int> one{1};
  conc::Synchronized<int, conc::RLock> two{2};
  conc::Synchronized<int, conc::RWLock> three{3};
  conc::Synchronized<int, std::mutex> four{4};
  conc::Lock locks[3];
  const conc::ScopedLock all{locks[0], locks[1], locks[2]};
  std::mutex mutex;
  const conc::ScopedLock with_mutex{mutex};
  conc::ThreadPoolExecutor pool{1};
  conc::Queue<int> bounded{1};
  bounded.put(pool.submit([] { return 1; }).result());
  conc::Queue<int> queue;
  queue.put(bounded.get());
  queue.shutdown();
  for (const int& item : queue) mailbox.put(item);
  return table.read() + mailbox.get() + synchronized(one) + synchronized(two) + synchronized(three) +
             synchronized(four) ==
         0;
}
