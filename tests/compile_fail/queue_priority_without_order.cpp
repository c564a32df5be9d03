// expect: PriorityQueue<T>: T has no operator<; give it one (operator<=> will do), or name a comparator
#include <conc/queue.hpp>
struct Job {
  int priority;
};
conc::PriorityQueue<Job> queue;
