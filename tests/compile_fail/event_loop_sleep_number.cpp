// expect: deleted function
#include <conc/event_loop.hpp>
asio::awaitable<void> wait() { return conc::sleep(5); }
