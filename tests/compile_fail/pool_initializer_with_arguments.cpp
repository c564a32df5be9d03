// expect: the callable must be callable without arguments
#include <conc/thread_pool.hpp>
conc::ThreadPoolExecutor pool{{.initializer = [](int) {}}};
