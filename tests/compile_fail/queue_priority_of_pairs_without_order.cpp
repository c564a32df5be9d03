// expect: PriorityQueue<T>: T has no operator<; give it one (operator<=> will do), or name a comparator
#include <conc/queue.hpp>
#include <utility>
struct Job {};
conc::PriorityQueue<std::pair<int, Job>> queue;
