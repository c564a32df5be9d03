// expect: ScopedLock guard{lock}: name at least one lock
#include <conc/lock.hpp>

int main() { conc::ScopedLock guard{}; }
