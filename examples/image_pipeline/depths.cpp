// SPDX-License-Identifier: MIT
#include "depths.hpp"

#include <utility>

namespace image_pipeline {
namespace {

constexpr std::size_t kMostLooks = 512;  // as many as a chart can show

template <class T>
void keep_every_second(std::vector<T>& values) {
  for (std::size_t i = 0; 2 * i < values.size(); ++i) values[i] = values[2 * i];
  values.resize((values.size() + 1) / 2);
}

}  // namespace

DepthSampler::DepthSampler(std::vector<const Items*> queues)
    : queues_(std::move(queues)), thread_{{.name = "sampler"}, [this] { sample(); }} {
  depths_.items.resize(queues_.size());
  thread_.start();
}

const Depths& DepthSampler::finish() {
  stop();
  return depths_;
}

void DepthSampler::stop() {
  over_.set();
  thread_.join();
}

/// What the thread does.
void DepthSampler::sample() {
  do {
    look();
    if (depths_.seconds.size() == kMostLooks) thin_out();
  } while (!over_.wait(period_));  // a sleep would have to end before anybody can stop
  look();
}

void DepthSampler::look() {
  const Clock::time_point now = Clock::now();
  if (depths_.seconds.empty()) first_ = now;
  depths_.seconds.push_back(std::chrono::duration<double>(now - first_).count());
  for (std::size_t i = 0; i < queues_.size(); ++i) depths_.items[i].push_back(queues_[i]->qsize());
}

/// However long it goes on, memory stays bounded: half of the looks go, and from now on there are half as many.
void DepthSampler::thin_out() {
  keep_every_second(depths_.seconds);
  for (std::vector<std::size_t>& items : depths_.items) keep_every_second(items);
  period_ *= 2;
}

}  // namespace image_pipeline
