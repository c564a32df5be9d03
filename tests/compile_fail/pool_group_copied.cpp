// expect: deleted
#include <conc/task_group.hpp>
conc::TaskGroup copy(conc::TaskGroup& group) { return group; }
