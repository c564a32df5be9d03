// expect: 'lock' is not held on every path through here
// clang: -Wthread-safety
#include <conc/lock.hpp>

conc::Lock lock;
int balance CONC_GUARDED_BY(lock) = 0;

int main(int argc, char**) {
  if (argc > 1) lock.acquire();
  return argc;
}
