// expect: PriorityQueue<T, Compare>: calling Compare with two const T& must say (as bool) whether the first one comes out before the second one
#include <conc/queue.hpp>
struct Job {
  int priority;
};
struct ByPriority {
  bool operator()(Job& one, Job& other) const { return one.priority < other.priority; }
};
conc::PriorityQueue<Job, ByPriority> queue;
