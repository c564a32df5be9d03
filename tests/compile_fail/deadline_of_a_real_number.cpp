// expect: deleted function
#include <conc/event.hpp>

int main() {
  conc::Event event;
  return event.wait(0.5) ? 0 : 1;
}
