// SPDX-License-Identifier: MIT
// Uses every public type, and says what does not do what it should: for compilers and standard libraries for which the
// other tests cannot be built. matrix.py compiles it.
#include <pthread.h>

#include <array>
#include <conc/conc.hpp>
#include <conc/pickle.hpp>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <shared_mutex>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>
#if defined(__linux__)
#include <conc/process.hpp>
#endif

namespace {

using namespace std::chrono_literals;

int failures = 0;

void check(bool holds, const char* what) {
  if (!holds) {
    std::printf("smoke: not so: %s\n", what);
    ++failures;
  }
}

/// Whether fn() throws an E.
template <class E, class F>
bool throws(F&& fn) {
  try {
    fn();
  } catch (const E& error) {
    return std::strlen(error.what()) > 0;
  } catch (...) {
  }
  return false;
}

template <class F>
void in_threads(int n, F fn) {
  std::vector<conc::Thread> threads;
  for (int i = 0; i < n; ++i) {
    threads.emplace_back(fn).start();
  }
  for (conc::Thread& thread : threads) {
    thread.join();
  }
}

/// A lock of any kind keeps two threads apart.
template <class L>
void excludes(L& lock, const char* what) {
  int count = 0;
  in_threads(2, [&] {
    for (int i = 0; i < 1000; ++i) {
      const conc::ScopedLock guard{lock};
      ++count;
    }
  });
  check(count == 2000, what);
}

void locks() {
  conc::Lock lock;
  excludes(lock, "a Lock excludes");
  conc::RLock rlock;
  excludes(rlock, "an RLock excludes");
  conc::Condition<> condition;
  excludes(condition, "a Condition excludes");
  conc::Semaphore one{1};
  excludes(one, "a Semaphore excludes");
  conc::BoundedSemaphore bounded{1};
  excludes(bounded, "a BoundedSemaphore excludes");
  conc::RWLock rw_lock;
  excludes(rw_lock, "an RWLock excludes");

  {
    const conc::ScopedLock both{lock, rlock};
    const conc::ScopedLock deeper{rlock};
    check(lock.locked() && rlock.owned() && !lock.acquire(1ms), "a ScopedLock holds both");
    const std::unique_lock<conc::RLock> standard{rlock, 1ms};
    check(standard.owns_lock(), "a unique_lock takes an RLock");
  }
  check(!lock.locked() && !rlock.locked(), "a ScopedLock lets both go");
  check(throws<conc::UsageError>([&] { lock.release(); }), "a Lock that nobody holds cannot be released");
  check(throws<conc::UsageError>([&] { bounded.release(); }), "a BoundedSemaphore keeps its bound");

  const std::shared_lock<conc::RWLock> reader{rw_lock};
  check(!rw_lock.try_acquire() && rw_lock.try_acquire_shared(), "readers share, and keep writers out");
  rw_lock.release_shared();

  conc::RWLock another;
  {
    const conc::ScopedSharedLock guard{another};
    check(!another.try_acquire(), "a ScopedSharedLock holds its lock");
  }
  check(another.acquire(1ms), "and lets it go");
  another.release();

  conc::Synchronized<std::string, conc::RWLock> text{"a"};
  text.with([](std::string& value) { value += "b"; });
  check(*std::as_const(text).lock() == "ab", "a Synchronized gives its value");
  check(static_cast<bool>(text.try_lock(1ms)), "a Synchronized gives its lock back");
  conc::Synchronized numbers{std::vector<int>(3)};
  check(numbers.with([](std::vector<int>& v) { return v.size(); }) == 3, "a Synchronized is made from a value");
}

void counters() {
  conc::AtomicInteger count{0};
  in_threads(2, [&count] {
    for (int i = 0; i < 1000; ++i) {
      ++count;
    }
  });
  check(count.value() == 2000 && count.dec() == 1999 && count.set(7) == 7, "an AtomicInteger counts");
  check(count.update([](std::int64_t value) { return value * 3; }) == 21, "an AtomicInteger is updated");
  conc::BasicAtomicInteger<std::uint8_t> small{255};
  check(small.inc() == 0, "an unsigned one wraps");
  check(conc::usable_cpu_count() >= 1 && conc::physical_cpu_count() >= 1, "there is a CPU");
}

void meetings() {
  conc::Event go;
  conc::Latch ready{2};
  conc::Barrier barrier{2, [&go] { go.clear(); }};
  conc::AtomicInteger indices{0};
  conc::Thread thread{[&] {
    ready.count_down();
    go.wait();
    indices.add(static_cast<std::int64_t>(barrier.wait()));
  }};
  thread.start();
  check(ready.arrive_and_wait(), "a Latch opens");
  go.set();
  indices.add(static_cast<std::int64_t>(barrier.wait(10s)));
  thread.join();
  check(indices.value() == 1 && !go.is_set(), "a Barrier numbers its threads and runs its action");
  check(throws<conc::BrokenBarrierError>([&] { barrier.wait(1ms); }), "a Barrier breaks when a deadline passes");
  check(barrier.broken() && !go.wait(1ms), "a wait ends when its deadline passes");

  conc::Condition<> changed;
  int stage = 0;
  conc::Thread waiter{[&] {
    const conc::ScopedLock guard{changed};
    changed.wait_for([&stage] { return stage == 1; });
    stage = 2;
    changed.notify_all();
  }};
  waiter.start();
  {
    const conc::ScopedLock guard{changed};
    stage = 1;
    changed.notify();
    check(changed.wait_for([&stage] { return stage == 2; }, 10s), "a Condition wakes");
    check(!changed.wait(1ms), "a Condition gives up when its deadline passes");
  }
  waiter.join();

  const conc::Deadline until = conc::Deadline::after(1.5h);
  check(!until.is_never() && conc::Deadline{0s}.is_poll() && conc::Deadline{}.is_never(),
        "deadlines are what they are");
}

template <class Queue>
void one_queue(std::size_t maxsize, typename Queue::value_type (*make)(int), const char* what) {
  Queue queue{maxsize};
  conc::AtomicInteger seen{0};
  conc::Thread consumer{[&] {
    for (typename Queue::value_type& item : queue) {
      const conc::TaskDone done{queue};
      seen.add(item == make(0) ? 0 : 1);
    }
  }};
  consumer.start();
  in_threads(2, [&queue, make] {
    for (int i = 0; i < 500; ++i) {
      queue.put(make(i));
    }
  });
  queue.join();
  queue.shutdown();
  consumer.join();
  check(seen.value() == 998 && queue.unfinished_tasks() == 0 && queue.empty(), what);
  check(throws<conc::QueueShutDown>([&] { queue.put(make(1)); }), "a queue that is shut down takes nothing");
}

void queues() {
  const auto same = [](int i) { return i; };
  const auto text = [](int i) { return std::to_string(i); };
  one_queue<conc::Queue<int>>(0, same, "an unbounded queue of int");
  one_queue<conc::Queue<int>>(4, same, "a bounded queue of int");
  one_queue<conc::Queue<std::string>>(3, text, "a bounded queue of strings");
  one_queue<conc::LifoQueue<int>>(0, same, "a LifoQueue of int");
  one_queue<conc::LifoQueue<std::string>>(3, text, "a bounded LifoQueue of strings");
  one_queue<conc::PriorityQueue<int>>(0, same, "a PriorityQueue of int");
  one_queue<conc::PriorityQueue<std::string>>(3, text, "a bounded PriorityQueue of strings");

  conc::LifoQueue<std::string> stack;
  conc::PriorityQueue<int> smallest_first{3};
  for (const int i : {2, 3, 1}) {
    stack.put(std::to_string(i));
    smallest_first.put(i);
  }
  check(stack.get() == "1" && stack.get_many(9).front() == "3", "a LifoQueue gives the last first");
  check(smallest_first.full() && smallest_first.get() == 1 && smallest_first.get() == 2,
        "a PriorityQueue gives the smallest first");

  conc::Queue<std::unique_ptr<int>> owners{2};
  std::array<std::unique_ptr<int>, 3> three{std::make_unique<int>(1), std::make_unique<int>(2), nullptr};
  check(owners.put_many(std::make_move_iterator(three.begin()), std::make_move_iterator(three.end()), 0s) == 2,
        "put_many stops when the queue is full");
  check(owners.full() && !owners.try_put(nullptr), "a full queue takes nothing");
  check(throws<conc::QueueFull>([&] { owners.put(nullptr, 1ms); }), "put gives up when its deadline passes");
  check(*owners.get() == 1 && owners.get_many(9).size() == 1 && !owners.try_get(), "a queue keeps the order");
  check(throws<conc::QueueEmpty>([&] { (void)owners.get(1ms); }), "get gives up when its deadline passes");
  owners.task_done(2);
  check(throws<conc::UsageError>([&] { owners.task_done(); }), "task_done comes once for each item");
}

bool reported = false;

void threads() {
  conc::Event go;
  conc::ThreadLocal<std::string> mine{[] { return std::string{"new"}; }};
  mine.get() = "main";
  std::string theirs;
  conc::Thread thread{{.name = "smoke", .stack_size = 256U * 1024U},
                      [&](int number) {
                        go.wait();
                        theirs = *mine + conc::current_thread().name() + std::to_string(number);
                        mine.reset();
                      },
                      7};
  check(!thread.is_alive() && thread.ident() == 0, "a Thread is not started by itself");
  thread.start();
  check(thread.is_alive() && !thread.join(1ms) && conc::active_count() == 2, "a Thread is alive until it ends");
  check(conc::enumerate()[1] == thread && conc::current_thread() == conc::main_thread(), "threads are enumerated");
  go.set();
  check(thread.join(10s) && thread.join() && !thread.is_alive(), "a Thread is joined");
  check(theirs == "newsmoke7" && *mine == "main" && mine.has_value(), "a ThreadLocal has a value for each thread");

  conc::ExceptHook const before = conc::set_excepthook([](const conc::ExceptHookArgs& args) {
    const std::string described = conc::detail::describe(args.exception);
    reported = std::string{args.thread_name} == "failing" && described == "std::runtime_error: boom";
  });
  conc::Thread failing{{.name = "failing"}, [] { throw std::runtime_error{"boom"}; }};
  failing.start();
  failing.join();
  (void)conc::set_excepthook(before);
  check(reported, "the hook gets what a thread throws");
  check(throws<conc::UsageError>([&] { failing.start(); }), "a Thread is started once");

  conc::AtomicInteger rung{0};
  conc::Timer early{1ms, [&rung](int n) { rung.add(n); }, 1};
  conc::Timer late{1h, [&rung] { rung.add(100); }};
  early.start();
  late.start();
  check(early.join(10s) && late.cancel() && late.join(10s) && rung.value() == 1, "a Timer rings unless cancelled");

#if defined( \
    __GLIBCXX__)  // with libc++ the system's libraries have two unwinders, and pthread_exit() may crash any program
  bool unwound = false;
  struct Unwound {
    bool& flag;
    ~Unwound() { flag = true; }
  };
  conc::Thread leaving{[&unwound] {
    const Unwound on_the_way_out{unwound};
    ::pthread_exit(nullptr);
  }};
  leaving.start();
  leaving.join();
  check(unwound, "pthread_exit ends a Thread as any other");
#endif
}

void stops() {
  conc::StopSource source;
  conc::StopToken token = source.get_token();
  int called = 0;
  {
    conc::StopCallback callback{token, [&called] { ++called; }};
    conc::Thread asked{[token] {
      while (!token.stop_requested()) {
        conc::detail::sync::yield();
      }
    }};
    asked.start();
    check(source.request_stop() && !source.request_stop() && asked.join(), "a StopToken stops a thread");
  }
  check(called == 1 && token.stop_possible() && token == source.get_token(), "a StopCallback is called once");
}

/// A coroutine that starts at once and gives a future.
struct Job {
  struct promise_type {
    conc::Promise<int> promise{};
    Job get_return_object() { return {promise.get_future()}; }
    static std::suspend_never initial_suspend() noexcept { return {}; }
    static std::suspend_never final_suspend() noexcept { return {}; }
    void return_value(int value) { promise.set_result(value); }
    void unhandled_exception() { promise.set_exception(std::current_exception()); }
  };
  conc::Future<int> future;
};

Job add_one(conc::Future<int> input) { co_return co_await input + 1; }

void futures() {
  conc::Promise<int> promise;
  const conc::Future<int> future = promise.get_future();
  check(future.valid() && !future.done() && !future.try_result(), "a Future is not done by itself");
  check(throws<conc::TimeoutError>([&] { (void)future.result(1ms); }), "result gives up when its deadline passes");
  int called = 0;
  future.add_done_callback([&called](const conc::Future<int>& done) { called = done.result(); });
  const conc::Future<std::string> text = future.then([](int value) { return std::to_string(value); });
  const Job job = add_one(future);
  check(promise.set_running_or_notify_cancel() && future.running() && !future.cancel(), "a Future that runs goes on");
  promise.set_result(41);
  check(called == 41 && text.result() == "41" && job.future.result() == 42 && *future.try_result() == 41,
        "a Future tells all who want to know");
  check(throws<conc::InvalidStateError>([&] { promise.set_result(1); }), "a Promise is kept once");

  std::optional<conc::Promise<void>> dropped{std::in_place};
  const conc::Future<void> broken = dropped->get_future();
  dropped.reset();
  check(throws<conc::BrokenPromise>([&] { broken.result(); }), "a Promise that is dropped breaks");
  int object = 0;
  conc::Promise<int&> reference;
  reference.set_result(object);
  check(&reference.get_future().result() == &object, "a Future refers");
  conc::Promise<std::unique_ptr<int>> owner;
  owner.set_result(new int{3});
  check(*owner.get_future().result() == 3, "a Future owns");
}

template <class Pool>
int fib(Pool& pool, int n) {
  return n < 2 ? n : [&] {
    const auto one = pool.submit([&pool, n] { return fib(pool, n - 1); });
    return fib(pool, n - 2) + one.result();
  }();
}

void pools() {
  conc::AtomicInteger initialized{0};
  conc::ThreadPoolExecutor pool{
      {.max_workers = 2, .thread_name_prefix = "smoke", .initializer = [&initialized] { ++initialized; }}};
  static_assert(conc::Executor<conc::ThreadPoolExecutor>);
  check(pool.submit([](int a, int b) { return a * b; }, 6, 7).result(10s) == 42, "a pool runs a task");
  check(pool.submit([&pool] { return fib(pool, 10); }).result() == 55, "tasks wait for tasks");
  const conc::Future<void> failed = pool.submit([] { throw std::out_of_range{"far"}; });
  check(throws<std::out_of_range>([&] { failed.result(); }) && failed.exception() != nullptr, "a task fails");
  check(pool.submit([] { return conc::current_thread().name(); }).result().starts_with("smoke_"), "workers have names");

  std::vector<int> numbers(100);
  std::iota(numbers.begin(), numbers.end(), 0);
  int sum = 0;
  for (const int square : pool.map(
           {.timeout = 10s, .chunksize = 7}, [](int n) { return n * n; }, numbers)) {
    sum += square;
  }
  for (const int product : pool.map([](int a, int b) { return a * b; }, numbers, numbers)) {
    sum -= product;
  }
  check(sum == 0, "map gives all results in order");
  auto many = pool.submit_many([](int n) { return n; }, numbers);
  for (const auto& one : conc::as_completed(many, 10s)) {
    sum += one.result();
  }
  check(sum == 4950, "as_completed gives all");
  const auto [done, not_done] = conc::wait(many, {.timeout = 10s, .return_when = conc::ReturnWhen::first_exception});
  check(done.size() == 100 && not_done.empty(), "wait gives all");
  check(conc::when_all(many).result().size() == 100, "when_all gives all");
  check(std::get<0>(conc::when_all(many[3], failed).result()).result() == 3, "when_all takes different futures");
  check(conc::when_any(many).result().index == 0, "when_any gives the first");

  conc::AtomicInteger count{0};
  conc::parallel_for(pool, std::size_t{1000}, [&count](std::size_t) { ++count; });
  conc::parallel_for(pool, numbers.begin(), numbers.end(), [&count](int n) { count.add(n); });
  conc::TaskGroup group{pool};
  for (int i = 0; i < 10; ++i) {
    group.run([&count] { ++count; });
  }
  group.wait();
  check(count.value() == 1000 + 4950 + 10, "parallel_for and a TaskGroup do all");
  group.run([] { throw std::range_error{"out"}; });
  check(throws<std::range_error>([&] { group.wait(); }), "a TaskGroup fails as its task did");
  pool.detach([&count](int n) { count.add(n); }, 1);
  check(pool.wait_idle(10s) && count.value() == 5961, "a pool runs what it was given");

  conc::Event started;
  const conc::Future<int> stoppable = pool.submit([&started](conc::StopToken token) {
    started.set();
    while (!token.stop_requested()) {
      conc::detail::sync::yield();
    }
    return 1;
  });
  started.wait();
  check(stoppable.request_stop() && stoppable.result() == 1, "a task can be asked to end");
  check(conc::spawn([](int n) { return n + 1; }, 1).result() == 2, "spawn runs one call");

  conc::Event hold;
  const auto blocking = pool.submit_many([&hold](int) { hold.wait(); }, std::vector<int>(2));
  const conc::Future<int> waiting = pool.submit([] { return 1; });
  check(waiting.cancel() && waiting.cancelled(), "what waits can be cancelled");
  check(throws<conc::CancelledError>([&] { (void)waiting.result(); }), "a cancelled task gives nothing");
  hold.set();
  check(conc::wait(blocking).not_done.empty(), "the tasks end");

  conc::Promise<conc::Future<int>> itself;
  const conc::Future<int> circle = pool.submit([&itself] { return itself.get_future().result().result(); });
  itself.set_result(circle);
  check(throws<conc::DeadlockError>([&] { (void)circle.result(); }), "a task that waits for itself is told so");

#if defined(__GLIBCXX__)  // as in threads()
  const conc::Future<void> leaving = pool.submit([] { ::pthread_exit(nullptr); });
  check(throws<conc::BrokenPromise>([&] { leaving.result(); }), "a task that ends its thread breaks its promise");
  check(pool.submit([] { return 1; }).result() == 1, "and its worker is replaced");
#endif

  pool.shutdown();
  check(throws<conc::UsageError>([&] { (void)pool.submit([] {}); }), "a pool that was shut down takes nothing");
  check(initialized.value() >= 1 && pool.stats().queued == 0, "workers were initialized");
}

struct Luggage {
  std::string owner;
  std::map<int, std::vector<std::optional<double>>> weights;
  std::variant<std::filesystem::path, std::tuple<bool, char>> content;
  char tag[2][2];
  std::vector<Luggage> inside;
  bool operator==(const Luggage&) const = default;
};

void pickles() {
  static_assert(conc::picklable<Luggage> && !conc::picklable<std::vector<int*>>);
  const Luggage bag{"Ann", {{1, {0.5, std::nullopt}}}, std::filesystem::path{"/tmp"}, {{'a', 'b'}, {'c', 'd'}}, {}};
  const Luggage trunk{"Bob", {}, std::tuple{true, 'x'}, {}, {bag, bag}};
  const std::string bytes = conc::pickle::dumps(trunk);
  check(conc::pickle::loads<Luggage>(bytes) == trunk, "what was pickled is loaded");
  check(throws<conc::PickleError>([&] { (void)conc::pickle::loads<Luggage>(bytes.substr(1)); }),
        "what cannot be loaded is noticed");
}

#if defined(__linux__)
void processes() {
  check(conc::subprocess::check_output({"echo", "smoke"}) == "smoke\n", "a program is run");
  const auto done = conc::subprocess::run({"cat"}, {.input = "smoke", .capture_output = true, .timeout = 10s});
  check(done.returncode == 0 && done.out == "smoke", "a program reads and writes");
  check(throws<conc::subprocess::CalledProcessError>([] { (void)conc::subprocess::run({"false"}, {.check = true}); }),
        "a program that fails is noticed");
  conc::Process process{[](int code) { ::_exit(code); }, 3};
  process.start();
  check(process.join() && process.exitcode() == 3, "a process runs");
}
#endif

}  // namespace

int main() {
  locks();
  counters();
  meetings();
  queues();
  threads();
  stops();
  futures();
  pools();
  pickles();
#if defined(__linux__)
  processes();
#endif
  check(conc::active_count() == 1, "no thread is left");
  if (failures == 0) {
    std::puts("smoke: all is well");
  }
  return failures == 0 ? 0 : 1;
}
