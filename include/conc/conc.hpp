// SPDX-License-Identifier: MIT
/// @file
/// All of conc that needs nothing but the standard library: threading, queue, concurrent.futures on threads.
#pragma once

#include <conc/annotations.hpp>
#include <conc/atomic_integer.hpp>
#include <conc/barrier.hpp>
#include <conc/condition.hpp>
#include <conc/cpu_count.hpp>
#include <conc/deadline.hpp>
#include <conc/error.hpp>
#include <conc/event.hpp>
#include <conc/executor.hpp>
#include <conc/future.hpp>
#include <conc/lock.hpp>
#include <conc/queue.hpp>
#include <conc/rw_lock.hpp>
#include <conc/semaphore.hpp>
#include <conc/stop_token.hpp>
#include <conc/synchronized.hpp>
#include <conc/task_group.hpp>
#include <conc/thread.hpp>
#include <conc/thread_pool.hpp>
#include <conc/wait.hpp>
