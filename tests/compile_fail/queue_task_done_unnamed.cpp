// expect: nodiscard
#include <conc/queue.hpp>
void handle(conc::Queue<int>& queue) { conc::TaskDone{queue}; }
