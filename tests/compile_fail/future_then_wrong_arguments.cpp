// expect: then(fn): fn must be callable with the result of this future, or with a const Future<T>&
#include <conc/future.hpp>
void go_on(const conc::Future<int>& future) {
  future.then([](const char*) {});
}
