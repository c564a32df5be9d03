// SPDX-License-Identifier: MIT
/// @file
/// Background: a Worker that tells how its function ended, and outcome: how a call ended.
#pragma once

#include <sys/types.h>

#include <conc/error.hpp>
#include <exception>
#include <string>
#include <thread>
#include <utility>

#include "support.hpp"
#include "worker.hpp"

namespace conc_test {

/// How `fn()` ended: "returned", the name of the error of conc that it threw, or the text of another exception.
template <class F>
std::string outcome(F&& fn) {
  try {
    fn();
    return "returned";
  } catch (const conc::QueueEmpty&) {
    return "QueueEmpty";
  } catch (const conc::QueueFull&) {
    return "QueueFull";
  } catch (const conc::QueueShutDown&) {
    return "QueueShutDown";
  } catch (const conc::UsageError&) {
    return "UsageError";
  } catch (const std::exception& error) {
    return error.what();
  } catch (...) {
    return "something else";
  }
}

/// The message of the exception of type E that `fn()` must throw; empty if it throws none.
template <class E, class F>
std::string message_of(F&& fn) {
  try {
    fn();
    return {};
  } catch (const E& error) {
    return error.what();
  }
}

/// A Worker that notes how `fn` ended. Joined when destroyed.
class Background {
 public:
  template <class F>
  explicit Background(F fn) : worker_{[this, call = std::move(fn)]() mutable { outcome_ = outcome(call); }} {}

  /// Waits until the thread sleeps.
  bool falls_asleep() const {
    return eventually([this] { return sleeps(worker_.id()); });
  }

  long naps() const { return conc_test::naps(worker_.id()); }

  /// Waits until the thread has woken since `naps` was read, and sleeps again.
  bool falls_asleep_again(long naps) const {
    return eventually([this, naps] { return this->naps() > naps && sleeps(worker_.id()); });
  }

  pid_t id() const { return worker_.id(); }
  std::thread::native_handle_type handle() { return worker_.handle(); }

  /// Waits for the end of the thread and says how `fn` ended.
  std::string join() {
    worker_.join();
    return outcome_;
  }

 private:
  std::string outcome_;
  Worker worker_;
};

}  // namespace conc_test
