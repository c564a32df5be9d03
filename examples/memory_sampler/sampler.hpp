// SPDX-License-Identifier: MIT
/// @file
/// Measures something again and again while a function runs. Needs nothing but conc: copy it to where you want it.
#pragma once

#include <algorithm>
#include <chrono>
#include <exception>
#include <functional>
#include <type_traits>
#include <utility>
#include <vector>

#include <conc/event.hpp>
#include <conc/queue.hpp>
#include <conc/thread.hpp>

namespace memory_sampler {

struct Sample {
  std::chrono::duration<double> time{};  // since the sampler's thread began
  double value = 0;
};

/// What was measured during one function, at least once before it began and once after it ended.
struct Samples {
  std::vector<Sample> all;
  std::exception_ptr error;  // what the measuring threw, which ended the sampling and not the function

  /// The mean of all values; 0 if there are none.
  double average() const {
    double sum = 0;
    for (const Sample& sample : all) sum += sample.value;
    return all.empty() ? 0 : sum / static_cast<double>(all.size());
  }

  double peak() const {
    double most = 0;
    for (const Sample& sample : all) most = std::max(most, sample.value);
    return most;
  }
};

/// What to measure and how often; and, after sampled(), what was found. For one sampled() at a time.
class Sampler {
 public:
  /// @param measure   called on the sampler's thread. What it throws ends the sampling, and nothing else.
  /// @param interval  from the end of one call to the beginning of the next.
  Sampler(std::function<double()> measure, std::chrono::milliseconds interval)
      : measure_(std::move(measure)), interval_(interval) {}

  /// Those of the last function, also if it threw.
  const Samples& samples() const { return samples_; }

  class Run;

 private:
  std::function<double()> measure_;
  std::chrono::milliseconds interval_;
  Samples samples_;
};

/// A thread that takes samples as long as this lives. sampled() is made of it.
class Sampler::Run {
 public:
  /// Returns when the first sample is there: however short the function is, it does not begin before that.
  explicit Run(Sampler& sampler) : sampler_(sampler), thread_([this] { result_.put(take_samples()); }) {
    thread_.start();
    begun_.wait();
  }

  /// On every way out of the function the thread is told to stop, hands over what it has, and is waited for.
  ~Run() {
    stop_.set();
    sampler_.samples_ = result_.get();
    thread_.join();
  }

  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

 private:
  Samples take_samples() {
    Samples samples;
    try {
      const auto start = std::chrono::steady_clock::now();
      for (bool last = false;; last = stop_.wait(sampler_.interval_)) {
        const double value = sampler_.measure_();
        samples.all.push_back({.time = std::chrono::steady_clock::now() - start, .value = value});
        begun_.set();
        if (last) break;
      }
    } catch (...) {
      samples.error = std::current_exception();
      begun_.set();
    }
    return samples;
  }

  Sampler& sampler_;
  conc::Event begun_;
  conc::Event stop_;
  conc::Queue<Samples> result_{1};
  conc::Thread thread_;
};

/// Calls function() while `sampler` measures on a thread of its own.
/// @return what the function returns, of whatever type. @throws what it throws; and std::system_error if there is no
/// thread to be had: then the function was not called.
template <class F>
std::invoke_result_t<F> sampled(F&& function, Sampler& sampler) {
  const Sampler::Run run(sampler);
  return std::forward<F>(function)();
}

}  // namespace memory_sampler
