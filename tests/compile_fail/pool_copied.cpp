// expect: deleted
#include <conc/thread_pool.hpp>
conc::ThreadPoolExecutor pool{1};
conc::ThreadPoolExecutor copy{pool};
