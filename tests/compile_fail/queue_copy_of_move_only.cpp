// expect: const std::unique_ptr<int>
#include <conc/queue.hpp>
#include <memory>
void put(conc::Queue<std::unique_ptr<int>>& queue, const std::unique_ptr<int>& item) { queue.put(item); }
