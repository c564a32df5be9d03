// expect: NeedsNoComparator
#include <conc/queue.hpp>
conc::PriorityQueue<int, bool (*)(int, int)> queue;
