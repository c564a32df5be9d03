// expect: Queue<T>: T must be a movable object type; for references use pointers
#include <conc/queue.hpp>
conc::LifoQueue<int&> queue;
