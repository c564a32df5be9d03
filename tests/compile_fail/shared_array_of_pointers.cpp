// expect: T must be trivially copyable and hold no pointer, reference, view or union
#include <conc/shared_array.hpp>
// A pointer means nothing in another process.
conc::shared_array<const char*> names(10);
