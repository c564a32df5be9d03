// SPDX-License-Identifier: MIT
// The shared library of the program code_keys, and the plugin that it loads by hand. They differ in nothing but WHO they are,
// in as many letters: the same code lies at the same place in both.
#include "code_keys.hpp"

#include <string>

namespace {
auto lambda() {
  return [](int n) { return WHO "'s lambda " + std::to_string(n); };
}
std::string function(int n) { return WHO "'s function " + std::to_string(n); }

const bool registered = conc::register_exception<LibraryError>();

void offer_all(Offers& offers) {
  offer(offers, WHO "'s lambda 21", lambda(), 21);
  offer(offers, WHO "'s function 22", &function, 22);
  offer(offers, "twice 46", &twice<int>, 23);
  offer(
      offers, "LibraryError: of the " WHO,
      [](bool known) -> std::string { throw LibraryError{known ? "of the " WHO : "not registered"}; }, registered);
}
}  // namespace

[[gnu::visibility("default")]] std::string library_function(int n) { return function(n); }
[[gnu::visibility("default")]] void offer_library(Offers& offers) { offer_all(offers); }
extern "C" [[gnu::visibility("default")]] void offer_plugin(Offers& offers) { offer_all(offers); }
