// expect: deleted function
#include <conc/executor.hpp>
conc::MapOptions options{.timeout = 5};
