// SPDX-License-Identifier: MIT
#include "stop.hpp"

#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <csignal>

#include <conc/thread.hpp>

namespace crash_proof {
namespace {

// The thread below may use these while the program exits: nothing destroys them.
constinit conc::Event stop;
constinit std::atomic<int> first_signal{0};

/// A thread, not a handler: here everything is allowed.
void wait_for_signals(sigset_t signals) {
  int signal = 0;
  if (::sigwait(&signals, &signal) != 0) return;
  first_signal = signal;
  stop.set();
  ::pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
  while (true) ::pause();
}

}  // namespace

conc::Event& stop_on_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  conc::Thread{{.name = "signals", .daemon = true}, wait_for_signals, signals}.start();
  return stop;
}

int stop_signal() noexcept { return first_signal; }

}  // namespace crash_proof
