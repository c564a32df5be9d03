// expect: ignoring return value of
#include <conc/queue.hpp>
void lose(conc::Queue<int>& queue) { queue.get(); }
