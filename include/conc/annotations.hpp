// SPDX-License-Identifier: MIT
/// @file
/// Attributes for clang's thread safety analysis (-Wthread-safety), which finds at compile time what is touched without
/// its lock, and locks that are not given back. All locks and guards of conc carry them. With other compilers they are
/// nothing.
///
///   conc::Lock lock;
///   int balance CONC_GUARDED_BY(lock) = 0;             // only with the lock held; shared is enough to read
///   int* tail CONC_PT_GUARDED_BY(lock) = nullptr;      // what it points to, likewise
///   void audit() CONC_REQUIRES(lock);                  // callers hold the lock
///   void transfer() CONC_EXCLUDES(lock);               // callers do not: it takes the lock itself
///
/// For locks and guards of your own: CONC_CAPABILITY("name") and CONC_SCOPED_CAPABILITY on the class, CONC_ACQUIRE,
/// CONC_TRY_ACQUIRE(true) and CONC_RELEASE on its members. CONC_NO_THREAD_SAFETY_ANALYSIS leaves one function out.
#pragma once

#if defined(__clang__)
#define CONC_THREAD_ATTRIBUTE(attribute) __attribute__((attribute))
#else
#define CONC_THREAD_ATTRIBUTE(attribute)
#endif

// What data and functions say.
#define CONC_GUARDED_BY(lock) CONC_THREAD_ATTRIBUTE(guarded_by(lock))
#define CONC_PT_GUARDED_BY(lock) CONC_THREAD_ATTRIBUTE(pt_guarded_by(lock))
#define CONC_REQUIRES(...) CONC_THREAD_ATTRIBUTE(requires_capability(__VA_ARGS__))
#define CONC_REQUIRES_SHARED(...) CONC_THREAD_ATTRIBUTE(requires_shared_capability(__VA_ARGS__))
#define CONC_EXCLUDES(...) CONC_THREAD_ATTRIBUTE(locks_excluded(__VA_ARGS__))
#define CONC_ACQUIRED_BEFORE(...) CONC_THREAD_ATTRIBUTE(acquired_before(__VA_ARGS__))
#define CONC_ACQUIRED_AFTER(...) CONC_THREAD_ATTRIBUTE(acquired_after(__VA_ARGS__))
#define CONC_NO_THREAD_SAFETY_ANALYSIS CONC_THREAD_ATTRIBUTE(no_thread_safety_analysis)

// What locks and guards say.
#define CONC_CAPABILITY(name) CONC_THREAD_ATTRIBUTE(capability(name))
#define CONC_SCOPED_CAPABILITY CONC_THREAD_ATTRIBUTE(scoped_lockable)
#define CONC_ACQUIRE(...) CONC_THREAD_ATTRIBUTE(acquire_capability(__VA_ARGS__))
#define CONC_ACQUIRE_SHARED(...) CONC_THREAD_ATTRIBUTE(acquire_shared_capability(__VA_ARGS__))
#define CONC_TRY_ACQUIRE(...) CONC_THREAD_ATTRIBUTE(try_acquire_capability(__VA_ARGS__))
#define CONC_TRY_ACQUIRE_SHARED(...) CONC_THREAD_ATTRIBUTE(try_acquire_shared_capability(__VA_ARGS__))
#define CONC_RELEASE(...) CONC_THREAD_ATTRIBUTE(release_capability(__VA_ARGS__))
#define CONC_RELEASE_SHARED(...) CONC_THREAD_ATTRIBUTE(release_shared_capability(__VA_ARGS__))
#define CONC_RELEASE_GENERIC(...) CONC_THREAD_ATTRIBUTE(release_generic_capability(__VA_ARGS__))  // however it is held
#define CONC_ASSERT_HELD(...) CONC_THREAD_ATTRIBUTE(assert_capability(__VA_ARGS__))
#define CONC_RETURN_CAPABILITY(lock) CONC_THREAD_ATTRIBUTE(lock_returned(lock))

// A lock that its owner may acquire again; clang below 21 does not know that and warns where one function does it.
#if defined(__clang__) && __has_attribute(reentrant_capability)
#define CONC_REENTRANT_CAPABILITY(name) CONC_CAPABILITY(name) CONC_THREAD_ATTRIBUTE(reentrant_capability)
#else
#define CONC_REENTRANT_CAPABILITY(name) CONC_CAPABILITY(name)
#endif
