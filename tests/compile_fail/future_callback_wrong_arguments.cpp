// expect: add_done_callback(fn): fn must be callable with a const Future<T>&
#include <conc/future.hpp>
void add(const conc::Future<int>& future) {
  future.add_done_callback([](const char*) {});
}
