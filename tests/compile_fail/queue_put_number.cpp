// expect: deleted function
#include <conc/queue.hpp>
void put(conc::Queue<int>& queue) { queue.put(1, 0.5); }
