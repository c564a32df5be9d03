// expect: pickle: ar(x) cannot load into a const x
#include <conc/pickle.hpp>
void read(conc::Unpickler& ar, const int& number) { ar(number); }
