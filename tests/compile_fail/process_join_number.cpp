// expect: deleted function
#include <conc/process.hpp>
bool join(conc::Process& process) { return process.join(5); }
