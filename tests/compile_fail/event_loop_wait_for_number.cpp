// expect: deleted function
#include <conc/event_loop.hpp>
asio::awaitable<void> wait() { return conc::wait_for(conc::sleep(conc::never), 5); }
