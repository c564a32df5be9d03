// expect: deleted function
#include <conc/thread.hpp>
bool join(conc::Thread& thread) { return thread.join(1.5); }
