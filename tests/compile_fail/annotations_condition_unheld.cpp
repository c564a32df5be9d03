// expect: requires holding condition 'ready' exclusively
// clang: -Wthread-safety
#include <conc/condition.hpp>

conc::Condition<> ready;
int letters CONC_GUARDED_BY(ready) = 0;

int main() { ++letters; }
