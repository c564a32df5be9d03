// expect: TaskGroup::run(fn): fn must be callable without arguments
#include <conc/task_group.hpp>
void run(conc::TaskGroup& group) {
  group.run([](int) {});
}
