// expect: deleted function
#include <conc/queue.hpp>
// A bare number is no deadline: seconds or milliseconds?
int get(conc::Queue<int>& queue) { return queue.get(5); }
