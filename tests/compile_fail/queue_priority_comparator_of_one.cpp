// expect: PriorityQueue<T, Compare>: calling Compare with two const T& must say (as bool) whether the first one comes out before the second one
#include <conc/queue.hpp>
#include <string>
struct Key {
  std::size_t operator()(const std::string& text) const { return text.size(); }
};
conc::PriorityQueue<std::string, Key> queue;
