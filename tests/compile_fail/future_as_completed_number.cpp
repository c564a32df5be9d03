// expect: deleted function
#include <conc/wait.hpp>
#include <vector>
// A bare number is no deadline: seconds or milliseconds?
void all(const std::vector<conc::Future<int>>& futures) { conc::as_completed(futures, 5); }
