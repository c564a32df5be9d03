// SPDX-License-Identifier: MIT
// The other file of the program code_keys: what it has is named as in the first one.
#include "code_keys.hpp"

#include <string>

namespace {

auto lambda() {
  return [](int n) { return "other's lambda " + std::to_string(n); };
}
struct Functor {
  int factor;
  std::string operator()(int n) const { return "other's functor " + std::to_string(factor * n); }
};
std::string function(int n) { return "other's function " + std::to_string(n); }

}  // namespace

static auto static_lambda() {
  return [](int n) { return "other's static lambda " + std::to_string(n); };
}

void offer_others(Offers& offers) {
  offer(offers, "other's lambda 11", lambda(), 11);
  offer(offers, "other's functor 36", Functor{3}, 12);
  offer(offers, "other's function 13", &function, 13);
  offer(offers, "other's static lambda 14", static_lambda(), 14);
  offer(offers, "twice 30", &twice<int>, 15);
}
