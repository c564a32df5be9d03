// SPDX-License-Identifier: MIT
/// @file
/// What conc/event_loop.hpp takes of Asio, and whether it can be had.
#pragma once

#if !__has_include(<asio/awaitable.hpp>)
#error "conc/event_loop.hpp needs standalone Asio 1.22 or later (Debian: libasio-dev)."
#endif

// ThreadSanitizer does not know fences, and g++ warns of them. Asio's are not needed where handlers run below a mutex.
#if defined(__SANITIZE_THREAD__)
#define CONC_DETAIL_NO_FENCES
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CONC_DETAIL_NO_FENCES
#endif
#endif
#if defined(CONC_DETAIL_NO_FENCES) && !defined(ASIO_DISABLE_FENCED_BLOCK)
#define ASIO_DISABLE_FENCED_BLOCK
#endif

#include <asio/detail/config.hpp>

#if !defined(ASIO_HAS_CO_AWAIT)
#error \
    "conc/event_loop.hpp: Asio does not see that this compiler has coroutines. Define ASIO_HAS_CO_AWAIT=1 for all files of the program, as the CMake target conc::conc does for clang."
#endif

#include <asio/any_io_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/awaitable.hpp>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/error.hpp>
#include <asio/execution.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/query.hpp>
#include <asio/redirect_error.hpp>
#include <asio/require.hpp>
#include <asio/steady_timer.hpp>
#include <asio/system_error.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>
