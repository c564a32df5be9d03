// SPDX-License-Identifier: MIT
// conc::EventLoop beside an asio::io_context that one thread runs, which is what conc's loop is made of. CPython's asyncio
// is measured by cpython_event_loop.py.
#include <benchmark/benchmark.h>
#include <time.h>
#include <batches.hpp>

#include <asio/co_spawn.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <asio/thread_pool.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/use_future.hpp>
#include <chrono>
#include <conc/event.hpp>
#include <conc/event_loop.hpp>
#include <conc/thread_pool.hpp>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <future>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using bench::Clock;
using Number = asio::awaitable<std::int64_t>;

constexpr std::int64_t kCallbacks = 100'000;
constexpr std::int64_t kChain = 10'000;
constexpr std::int64_t kTimers = 10'000;
constexpr std::int64_t kRounds = 1'000;

void check(benchmark::State& state, bool right) {
  if (!right) {
    state.SkipWithError("the result is wrong");
  }
}

/// conc::EventLoop, on the calling thread.
class ConcLoop {
 public:
  template <class F>
  void soon(F fn) {
    loop_.call_soon(std::move(fn));
  }
  template <class F>
  void later(std::chrono::nanoseconds delay, F fn) {
    loop_.call_later(delay, std::move(fn));
  }
  template <class F>
  void later_but_cancelled(std::chrono::nanoseconds delay, F fn) {
    loop_.call_later(delay, std::move(fn)).cancel();
  }
  /// Runs until stop(), or at least until nothing is left to do.
  void run() { loop_.run_forever(); }
  void stop() { loop_.stop(); }
  void run(asio::awaitable<void> main) { loop_.run_until_complete(std::move(main)); }
  static asio::awaitable<void> sleep(std::chrono::nanoseconds delay) { return conc::sleep(delay); }
  /// Before new timers are made.
  void forget_timers() {}

 private:
  conc::EventLoop loop_;
};

/// asio::io_context, likewise. With `Io` it has what sockets and timers need, as conc's loop always has: from then on
/// Asio sleeps, and looks for events, in epoll_wait().
template <bool Io>
class AsioLoop {
 public:
  AsioLoop() {
    if constexpr (Io) {
      timers_.emplace_back(context_);
    }
  }
  template <class F>
  void soon(F fn) {
    asio::post(context_, std::move(fn));
  }
  template <class F>
  void later(std::chrono::nanoseconds delay, F fn) {
    timers_.emplace_back(context_, delay).async_wait([fn = std::move(fn)](asio::error_code) mutable { fn(); });
  }
  template <class F>
  void later_but_cancelled(std::chrono::nanoseconds delay, F fn) {
    asio::steady_timer timer{context_, delay};
    timer.async_wait([fn = std::move(fn)](asio::error_code error) mutable {
      if (!error) {
        fn();
      }
    });
    timer.cancel();
  }
  void run() {
    context_.restart();
    context_.run();
  }
  void stop() {}
  void run(asio::awaitable<void> main) {
    asio::co_spawn(context_, std::move(main), [](const std::exception_ptr& error) {
      if (error != nullptr) {
        std::rethrow_exception(error);
      }
    });
    run();
  }
  static asio::awaitable<void> sleep(std::chrono::nanoseconds delay) {
    asio::steady_timer timer{co_await asio::this_coro::executor, delay};
    co_await timer.async_wait(asio::use_awaitable);
  }
  void forget_timers() {
    timers_.clear();
    timers_.reserve(kTimers);
  }

 private:
  asio::io_context context_{1};
  std::vector<asio::steady_timer> timers_;
};

/// conc's loop in a thread of its own, on the first CPU.
class ConcThread {
 public:
  ConcThread() {
    conc::Event pinned;
    post([&pinned] {
      bench::pin_this_thread(bench::cpu_of(0));
      pinned.set();
    });
    pinned.wait();
  }
  template <class F>
  void post(F fn) {
    thread_.loop().call_soon_threadsafe(std::move(fn));
  }
  conc::Future<std::int64_t> spawn(Number coroutine) {
    return conc::run_coroutine_threadsafe(std::move(coroutine), thread_);
  }
  static std::int64_t take(conc::Future<std::int64_t>& future) { return std::move(future).result(); }

 private:
  conc::LoopThread thread_;
};

/// Asio's, likewise.
template <bool Io>
class AsioThread {
 public:
  AsioThread()
      : thread_{[this] {
          bench::pin_this_thread(bench::cpu_of(0));
          context_.run();
        }} {
    if constexpr (Io) {
      asio::steady_timer{context_};
    }
  }
  ~AsioThread() {
    context_.stop();
    thread_.join();
  }
  AsioThread(const AsioThread&) = delete;
  AsioThread& operator=(const AsioThread&) = delete;
  template <class F>
  void post(F fn) {
    asio::post(context_, std::move(fn));
  }
  std::future<std::int64_t> spawn(Number coroutine) {
    return asio::co_spawn(context_, std::move(coroutine), asio::use_future);
  }
  static std::int64_t take(std::future<std::int64_t>& future) { return future.get(); }

 private:
  asio::io_context context_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_{context_.get_executor()};
  std::thread thread_;
};

/// The processor time of all threads, per operation, as the counter "cpu".
class CpuTime {
 public:
  CpuTime(benchmark::State& state, std::int64_t batch) : state_{state}, batch_{batch}, begin_{now()} {}
  ~CpuTime() {
    // The batch before the first one that counts is measured here too.
    state_.counters["cpu"] = (now() - begin_) / static_cast<double>(state_.iterations() + batch_);
  }
  CpuTime(const CpuTime&) = delete;
  CpuTime& operator=(const CpuTime&) = delete;

 private:
  static double now() {
    timespec time{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return 1e9 * static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec);
  }

  benchmark::State& state_;
  const std::int64_t batch_;
  const double begin_;
};

/// Batches of work for a loop in a thread of its own, from `callers` threads.
template <class Prepare, class Work>
void measure(benchmark::State& state, std::int64_t operations, int callers, Prepare prepare, Work work) {
  const CpuTime cpu{state, operations};
  bench::measure_batches(state, operations, bench::cpus_beside(1, callers), prepare, work);
}

/// What does a callback cost that another thread hands over? Each of the threads has its share of the callbacks; the time
/// ends when the last one has run.
template <class Loop>
void BM_EventLoop_call_soon_threadsafe(benchmark::State& state) {
  const auto producers = static_cast<int>(state.range(0));
  Loop loop;
  std::int64_t left = 0;
  conc::Event done;
  const auto prepare = [&] {
    left = kCallbacks;
    done.clear();
  };
  measure(state, kCallbacks, producers, prepare, [&](int) {
    for (std::int64_t i = 0; i < kCallbacks / producers; ++i) {
      loop.post([&left, &done] {
        if (--left == 0) {
          done.set();
        }
      });
    }
    done.wait();
  });
}

struct ByEvent {
  template <class Loop>
  std::int64_t operator()(Loop& loop) {
    loop.post([this] { event.set(); });
    event.wait();
    event.clear();
    return 1;
  }
  conc::Event event;
};
struct ByPromise {
  template <class Loop>
  std::int64_t operator()(Loop& loop) {
    std::promise<std::int64_t> promise;
    std::future<std::int64_t> future = promise.get_future();
    loop.post([promise = std::move(promise)]() mutable { promise.set_value(1); });
    return future.get();
  }
};

Number one() { co_return 1; }

struct ByCoroutine {
  template <class Loop>
  std::int64_t operator()(Loop& loop) {
    auto future = loop.spawn(one());
    return Loop::take(future);
  }
};

/// How long is it until a callback has run and the thread that handed it over knows? With idle_us, the thread sleeps for
/// that long before, and the loop with it; the sleep is not measured. The thread waits for a conc::Event, or for a
/// std::future; or it hands over a coroutine and waits for its result.
template <class Loop, class Way>
void BM_EventLoop_round_trip(benchmark::State& state) {
  const std::chrono::microseconds idle{state.range(0)};
  const bench::OnCpus cpus{state.range(1)};
  const std::int64_t rounds = idle == 0us ? kRounds : 100;
  Loop loop;
  Way way;
  std::int64_t sum = 0;
  const auto prepare = [&sum] { sum = 0; };
  measure(state, rounds, 1, prepare, [&](int) {
    Clock::duration slept{};
    for (std::int64_t i = 0; i < rounds; ++i) {
      if (idle != 0us) {
        const Clock::time_point asleep = Clock::now();
        std::this_thread::sleep_for(idle);
        slept += Clock::now() - asleep;
      }
      sum += way(loop);
    }
    return Clock::now() - slept;
  });
  check(state, sum == rounds);
}

Number one_later() {
  co_await asio::post(asio::use_awaitable);
  co_return 1;
}

/// What does a coroutine cost from which a result is wanted, when there are 1,000 at a time? It ends at once, or it is
/// suspended once, by asio::post.
template <class Loop, Number (*Coroutine)()>
void BM_EventLoop_coroutines(benchmark::State& state) {
  const std::int64_t in_flight = state.range(0);
  Loop loop;
  std::vector<decltype(loop.spawn(one()))> futures;
  futures.reserve(static_cast<std::size_t>(in_flight));
  std::int64_t sum = 0;
  const auto prepare = [&sum] { sum = 0; };
  measure(state, kChain, 1, prepare, [&](int) {
    for (std::int64_t i = 0; i < kChain; i += in_flight) {
      for (std::int64_t j = 0; j < in_flight; ++j) {
        futures.push_back(loop.spawn(Coroutine()));
      }
      for (auto& future : futures) {
        sum += Loop::take(future);
      }
      futures.clear();
    }
  });
  check(state, sum == kChain);
}

/// What does a callback cost that the loop's own thread schedules, together with 999 others?
template <class Loop>
void BM_EventLoop_call_soon(benchmark::State& state) {
  Loop loop;
  while (state.KeepRunningBatch(kRounds)) {
    std::int64_t left = kRounds;
    loop.soon([&] {
      for (std::int64_t i = 0; i < kRounds; ++i) {
        loop.soon([&] {
          if (--left == 0) {
            loop.stop();
          }
        });
      }
    });
    loop.run();
    check(state, left == 0);
  }
}

template <class Loop>
struct Link {
  Loop* loop;
  std::int64_t* left;

  void operator()() const {
    if (--*left == 0) {
      loop->stop();
    } else {
      loop->soon(*this);
    }
  }
};

/// What does a callback cost that schedules the next one, when there is nothing else to do?
template <class Loop>
void BM_EventLoop_call_soon_chain(benchmark::State& state) {
  Loop loop;
  while (state.KeepRunningBatch(kChain)) {
    std::int64_t left = kChain;
    loop.soon(Link<Loop>{&loop, &left});
    loop.run();
    check(state, left == 0);
  }
}

/// What does a timer cost that fires? 10,000 are set, to times within a millisecond, in no order; by the time that all
/// are set most are due.
template <class Loop>
void BM_EventLoop_call_later(benchmark::State& state) {
  Loop loop;
  while (state.KeepRunningBatch(kTimers)) {
    std::int64_t left = kTimers;
    loop.soon([&] {
      loop.forget_timers();
      for (std::int64_t i = 0; i < kTimers; ++i) {
        loop.later(std::chrono::nanoseconds{i * 7'919 % kTimers * 100}, [&] {
          if (--left == 0) {
            loop.stop();
          }
        });
      }
    });
    loop.run();
    check(state, left == 0);
  }
}

/// What does a timer cost that is cancelled?
template <class Loop>
void BM_EventLoop_call_later_cancel(benchmark::State& state) {
  Loop loop;
  while (state.KeepRunningBatch(kRounds)) {
    bool called = false;
    loop.soon([&] {
      for (std::int64_t i = 0; i < kRounds; ++i) {
        loop.later_but_cancelled(1h, [&called] { called = true; });
      }
      loop.stop();
    });
    loop.run();
    check(state, !called);
  }
}

template <class Loop>
struct Tick {
  Loop* loop;
  std::int64_t* left;

  void operator()() const {
    if (--*left == 0) {
      loop->stop();
    } else {
      loop->forget_timers();
      loop->later(20us, Tick{*this});
    }
  }
};

/// What does it take of the processor to sleep until a timer fires, which is 20 us away and sets the next one?
template <class Loop>
void BM_EventLoop_call_later_chain(benchmark::State& state) {
  Loop loop;
  while (state.KeepRunningBatch(kRounds)) {
    std::int64_t left = kRounds;
    loop.soon(Tick<Loop>{&loop, &left});
    loop.run();
    check(state, left == 0);
  }
}

template <class Loop>
asio::awaitable<void> sleep_often() {
  for (std::int64_t i = 0; i < kRounds; ++i) {
    co_await Loop::sleep(0ns);
  }
}

/// What does it cost a coroutine to let others go first: to sleep for no time?
template <class Loop>
void BM_EventLoop_sleep_zero(benchmark::State& state) {
  Loop loop;
  while (state.KeepRunningBatch(kRounds)) {
    loop.run(sleep_often<Loop>());
  }
}

/// The pool that a coroutine has something done by, beside the loop: one worker, on the second CPU.
class ConcPool {
 public:
  ConcPool() {
    pool_.submit([] { bench::pin_this_thread(bench::cpu_of(1)); }).result();
  }
  template <class F>
  Number call(F fn) {
    return conc::awaitable(pool_.submit(std::move(fn)));
  }

 private:
  conc::ThreadPoolExecutor pool_{1};
};

/// asio::thread_pool, where the result is posted back to whoever awaits it, as one writes it by hand.
class AsioPool {
 public:
  AsioPool() {
    asio::post(pool_, [] { bench::pin_this_thread(bench::cpu_of(1)); });
  }
  ~AsioPool() { pool_.join(); }
  AsioPool(const AsioPool&) = delete;
  AsioPool& operator=(const AsioPool&) = delete;
  template <class F>
  Number call(F fn) {
    return asio::async_initiate<const asio::use_awaitable_t<>, void(std::exception_ptr, std::int64_t)>(
        [this](auto handler, F f) {
          asio::post(pool_, [handler = std::move(handler), f = std::move(f)]() mutable {
            std::exception_ptr error;
            std::int64_t result = 0;
            try {
              result = f();
            } catch (...) {
              error = std::current_exception();
            }
            const auto executor = asio::get_associated_executor(handler);
            asio::post(executor,
                       [handler = std::move(handler), error, result]() mutable { std::move(handler)(error, result); });
          });
        },
        asio::use_awaitable, std::move(fn));
  }

 protected:
  asio::thread_pool pool_{1};
};

template <class F>
Number call_in_coroutine(F fn) {
  co_return fn();
}

/// The same with a coroutine on the pool: less to write.
class AsioSpawningPool : public AsioPool {
 public:
  template <class F>
  Number call(F fn) {
    return asio::co_spawn(pool_, call_in_coroutine(std::move(fn)), asio::use_awaitable);
  }
};

template <class Pool>
Number call_often(Pool& pool, std::int64_t calls) {
  std::int64_t sum = 0;
  for (std::int64_t i = 0; i < calls; ++i) {
    sum += co_await pool.call([] { return std::int64_t{1}; });
  }
  co_return sum;
}

/// What does it cost a coroutine to have a pool call a function, and to go on with the result? So many coroutines do so
/// at a time.
template <class Loop, class Pool>
void BM_EventLoop_await_pool(benchmark::State& state) {
  const std::int64_t in_flight = state.range(0);
  const std::int64_t calls = in_flight == 1 ? kRounds : kChain;
  Pool pool;
  Loop loop;
  std::vector<decltype(loop.spawn(one()))> futures;
  futures.reserve(static_cast<std::size_t>(in_flight));
  std::int64_t sum = 0;
  const auto prepare = [&sum] { sum = 0; };
  measure(state, calls, 1, prepare, [&](int) {
    for (std::int64_t i = 0; i < in_flight; ++i) {
      futures.push_back(loop.spawn(call_often(pool, calls / in_flight)));
    }
    for (auto& future : futures) {
      sum += Loop::take(future);
    }
    futures.clear();
  });
  check(state, sum == calls);
}

using Benchmark = benchmark::internal::Benchmark;

void producers(Benchmark* benchmark) {
  benchmark->ArgName("producers")->Arg(1)->Arg(2)->Arg(4)->Arg(8)->UseManualTime();
}
void one_at_a_time(Benchmark* benchmark) {
  benchmark->ArgNames({"idle_us", "one_core"})
      ->Args({0, bench::own_cpus})
      ->Args({50, bench::own_cpus})
      ->Args({0, bench::one_core})
      ->UseManualTime();
}
void a_thousand_at_a_time(Benchmark* benchmark) { benchmark->ArgName("in_flight")->Arg(kRounds)->UseManualTime(); }
void one_and_a_thousand(Benchmark* benchmark) {
  benchmark->ArgName("in_flight")->Arg(1)->Arg(kRounds)->UseManualTime();
}
void on_this_thread(Benchmark* /*benchmark*/) {}

#define MEASURE(name, arguments, ...) BENCHMARK(__VA_ARGS__)->Name(name)->Apply(arguments)

MEASURE("BM_EventLoop_call_soon_threadsafe/conc", producers, BM_EventLoop_call_soon_threadsafe<ConcThread>);
MEASURE("BM_EventLoop_call_soon_threadsafe/asio", producers, BM_EventLoop_call_soon_threadsafe<AsioThread<true>>);
MEASURE("BM_EventLoop_call_soon_threadsafe/asio_no_io", producers,
        BM_EventLoop_call_soon_threadsafe<AsioThread<false>>);

MEASURE("BM_EventLoop_round_trip_event/conc", one_at_a_time, BM_EventLoop_round_trip<ConcThread, ByEvent>);
MEASURE("BM_EventLoop_round_trip_event/asio", one_at_a_time, BM_EventLoop_round_trip<AsioThread<true>, ByEvent>);
MEASURE("BM_EventLoop_round_trip_promise/conc", one_at_a_time, BM_EventLoop_round_trip<ConcThread, ByPromise>);
MEASURE("BM_EventLoop_round_trip_promise/asio", one_at_a_time, BM_EventLoop_round_trip<AsioThread<true>, ByPromise>);
MEASURE("BM_EventLoop_round_trip_promise/asio_no_io", one_at_a_time,
        BM_EventLoop_round_trip<AsioThread<false>, ByPromise>);

MEASURE("BM_EventLoop_coroutine_round_trip/conc", one_at_a_time, BM_EventLoop_round_trip<ConcThread, ByCoroutine>);
MEASURE("BM_EventLoop_coroutine_round_trip/asio", one_at_a_time,
        BM_EventLoop_round_trip<AsioThread<true>, ByCoroutine>);
MEASURE("BM_EventLoop_coroutine_round_trip/asio_no_io", one_at_a_time,
        BM_EventLoop_round_trip<AsioThread<false>, ByCoroutine>);

MEASURE("BM_EventLoop_coroutines/conc", a_thousand_at_a_time, BM_EventLoop_coroutines<ConcThread, one>);
MEASURE("BM_EventLoop_coroutines/asio", a_thousand_at_a_time, BM_EventLoop_coroutines<AsioThread<true>, one>);
MEASURE("BM_EventLoop_coroutines_suspended/conc", a_thousand_at_a_time, BM_EventLoop_coroutines<ConcThread, one_later>);
MEASURE("BM_EventLoop_coroutines_suspended/asio", a_thousand_at_a_time,
        BM_EventLoop_coroutines<AsioThread<true>, one_later>);

MEASURE("BM_EventLoop_await_pool/conc", one_and_a_thousand, BM_EventLoop_await_pool<ConcThread, ConcPool>);
MEASURE("BM_EventLoop_await_pool/asio", one_and_a_thousand, BM_EventLoop_await_pool<AsioThread<true>, AsioPool>);
MEASURE("BM_EventLoop_await_pool/asio_co_spawn", one_and_a_thousand,
        BM_EventLoop_await_pool<AsioThread<true>, AsioSpawningPool>);

MEASURE("BM_EventLoop_call_soon/conc", on_this_thread, BM_EventLoop_call_soon<ConcLoop>);
MEASURE("BM_EventLoop_call_soon/asio", on_this_thread, BM_EventLoop_call_soon<AsioLoop<true>>);
MEASURE("BM_EventLoop_call_soon/asio_no_io", on_this_thread, BM_EventLoop_call_soon<AsioLoop<false>>);
MEASURE("BM_EventLoop_call_soon_chain/conc", on_this_thread, BM_EventLoop_call_soon_chain<ConcLoop>);
MEASURE("BM_EventLoop_call_soon_chain/asio", on_this_thread, BM_EventLoop_call_soon_chain<AsioLoop<true>>);
MEASURE("BM_EventLoop_call_soon_chain/asio_no_io", on_this_thread, BM_EventLoop_call_soon_chain<AsioLoop<false>>);

MEASURE("BM_EventLoop_call_later/conc", on_this_thread, BM_EventLoop_call_later<ConcLoop>);
MEASURE("BM_EventLoop_call_later/asio", on_this_thread, BM_EventLoop_call_later<AsioLoop<true>>);
MEASURE("BM_EventLoop_call_later_cancel/conc", on_this_thread, BM_EventLoop_call_later_cancel<ConcLoop>);
MEASURE("BM_EventLoop_call_later_cancel/asio", on_this_thread, BM_EventLoop_call_later_cancel<AsioLoop<true>>);
MEASURE("BM_EventLoop_call_later_chain/conc", on_this_thread, BM_EventLoop_call_later_chain<ConcLoop>);
MEASURE("BM_EventLoop_call_later_chain/asio", on_this_thread, BM_EventLoop_call_later_chain<AsioLoop<true>>);
MEASURE("BM_EventLoop_sleep_zero/conc", on_this_thread, BM_EventLoop_sleep_zero<ConcLoop>);
MEASURE("BM_EventLoop_sleep_zero/asio", on_this_thread, BM_EventLoop_sleep_zero<AsioLoop<true>>);

}  // namespace
