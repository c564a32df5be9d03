// expect: Queue<T>: T must be a movable object type; for references use pointers
#include <atomic>
#include <conc/queue.hpp>
conc::Queue<std::atomic<int>> queue;
