// expect: Queue<T>: destroying an item must not throw
#include <conc/queue.hpp>
struct Item {
  Item(Item&&) noexcept;
  ~Item() noexcept(false);
};
conc::Queue<Item> queue;
