// expect: deleted
#include <conc/queue.hpp>
conc::Queue<int> copy(const conc::Queue<int>& queue) { return queue; }
