// SPDX-License-Identifier: MIT
// What debug_off.py looks at: everything that has to do with locks, once.
#include <conc/condition.hpp>
#include <conc/lock.hpp>
#include <conc/rw_lock.hpp>
#include <conc/synchronized.hpp>

bool use(conc::Lock& lock, conc::RLock& rlock, conc::RWLock& table, conc::Condition<conc::Lock>& condition,
         conc::Synchronized<int>& value, conc::Deadline deadline) {
  conc::debug::name(lock, "lock");
  conc::debug::name(condition, "condition");
  lock.acquire();
  const bool waited = condition.wait(deadline);
  lock.release();
  if (!lock.try_acquire() && !rlock.acquire(deadline)) return false;
  const conc::ScopedLock all{lock, rlock, table};
  const conc::ScopedSharedLock shared{table};
  return waited && table.acquire(deadline) && table.try_acquire_shared() && *value.lock() == 0;
}
