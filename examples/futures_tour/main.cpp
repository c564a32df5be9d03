// SPDX-License-Identifier: MIT
/// @file
/// A tour of futures: each chapter starts tasks in a thread pool and prints what their futures say.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <chrono>
#include <exception>
#include <iomanip>
#include <iostream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <unordered_map>
#include <vector>

#include <conc/error.hpp>
#include <conc/event.hpp>
#include <conc/future.hpp>
#include <conc/stop_token.hpp>
#include <conc/thread.hpp>
#include <conc/thread_pool.hpp>
#include <conc/wait.hpp>

using namespace std::chrono_literals;

namespace {

/// Prints an expression, and behind it its value or the error that it throws.
#define SHOW(expression) show(#expression, [&]() -> decltype(auto) { return (expression); })

template <class F>
void show(const char* expression, F evaluate) {
  std::cout << "  " << std::left << std::setw(42) << expression << " -> " << std::boolalpha;
  try {
    std::cout << evaluate() << '\n';
  } catch (const conc::TimeoutError&) {
    std::cout << "TimeoutError\n";
  } catch (const conc::CancelledError&) {
    std::cout << "CancelledError\n";
  } catch (const std::exception& e) {
    std::cout << "throws \"" << e.what() << "\"\n";
  }
}

void say(const std::string& text) { std::cout << "  " << text << '\n'; }

/// Where a task tells that it runs, and waits until it may go on. So this program decides what is done when; time and
/// the scheduler have no say.
struct Gate {
  void pass() {
    reached.set();
    open.wait();
  }

  conc::Event reached;
  conc::Event open;
};

/// Opens gates at the end of the scope, on every way out. Stands below the pool, whose destructor waits for the tasks.
class OpenAtEnd {
 public:
  explicit OpenAtEnd(std::vector<Gate>& gates) : gates_{gates} {}
  ~OpenAtEnd() {
    for (Gate& gate : gates_) gate.open.set();
  }

  OpenAtEnd(const OpenAtEnd&) = delete;
  OpenAtEnd& operator=(const OpenAtEnd&) = delete;

 private:
  std::vector<Gate>& gates_;
};

int add(int a, int b) { return a + b; }

int parse(const std::string& text) {
  int number = 0;
  const char* const end = text.data() + text.size();
  const auto [stopped_at, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc{} || stopped_at != end) throw std::invalid_argument("'" + text + "' is no number");
  return number;
}

// The chapters.

void done() {
  std::vector<Gate> gates(1);
  conc::ThreadPoolExecutor pool{1};
  const OpenAtEnd open_at_end{gates};
  const conc::Future<int> first = pool.submit([&gates] {
    gates[0].pass();
    return 42;
  });
  const conc::Future<int> second = pool.submit(add, 1, 2);  // has to wait: the pool has one worker

  gates[0].reached.wait();
  SHOW(first.running());
  SHOW(first.done());
  SHOW(second.running());
  SHOW(second.done());
  gates[0].open.set();
  SHOW(second.result());  // waits for it, and so for the first one
  SHOW(second.done());
  SHOW(first.done());
  SHOW(first.running());
  SHOW(first.result());
  SHOW(first.result());  // as often as you like
}

void timeouts() {
  std::vector<Gate> gates(1);
  conc::ThreadPoolExecutor pool{1};
  const OpenAtEnd open_at_end{gates};
  const conc::Future<std::string> slow = pool.submit([&gates] {
    gates[0].pass();
    return std::string("at last");
  });

  SHOW(slow.result(20ms));
  SHOW(slow.result(0s));  // looks, and does not wait
  SHOW(slow.wait(20ms));  // whether it is done is a fact, and no error
  SHOW(slow.done());      // giving up ends the wait, not the task
  gates[0].open.set();
  SHOW(slow.result(1h));
}

/// What became of futures whose exceptions nobody has asked for.
void tell_unretrieved(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const std::exception& e) {
    say(std::string("nobody asked, so the hook tells: ") + e.what());
  }
}

void exceptions() {
  const auto previous = conc::set_unretrieved_exception_hook(tell_unretrieved);
  {
    conc::ThreadPoolExecutor pool{1};
    const conc::Future<int> good = pool.submit(parse, "42");
    const conc::Future<int> bad = pool.submit(parse, "4 apples");
    SHOW(good.result());
    SHOW(good.exception() == nullptr);
    SHOW(bad.result());
    SHOW(bad.result());  // every time
    SHOW(bad.exception() != nullptr);
    try {
      bad.result();
    } catch (const std::invalid_argument& e) {  // it has kept its type
      say(std::string("caught a std::invalid_argument: ") + e.what());
    }
    pool.submit(parse, "5 pears");
  }
  conc::set_unretrieved_exception_hook(previous);
}

void callbacks() {
  std::vector<Gate> gates(1);
  conc::Event all_called;
  conc::ThreadPoolExecutor pool{{.max_workers = 1, .thread_name_prefix = "tour"}};
  const OpenAtEnd open_at_end{gates};
  const conc::Future<int> answer = pool.submit([&gates] {
    gates[0].pass();
    return 42;
  });

  // In the order of registration, on the thread that finishes the future.
  const auto tell = [](const char* which, const conc::Future<int>& future) {
    say(std::string(which) + " callback: " + std::to_string(future.result()) + ", on " + conc::current_thread().name());
  };
  answer.add_done_callback([tell](const conc::Future<int>& future) { tell("first", future); });
  answer.add_done_callback([tell, &all_called](const conc::Future<int>& future) {
    tell("second", future);
    all_called.set();
  });
  const conc::Future<int> twice = answer.then([](int value) { return 2 * value; });
  const conc::Future<std::string> text = twice.then([](int value) { return "the double is " + std::to_string(value); });
  say("nothing is called before the task is done");
  gates[0].open.set();
  all_called.wait();

  // On a future that is done already: at once, here.
  answer.add_done_callback([tell](const conc::Future<int>& future) { tell("late", future); });
  SHOW(twice.result());
  SHOW(text.result());

  const conc::Future<int> bad = pool.submit(parse, "x").then([](int value) { return 2 * value; });
  SHOW(bad.result());  // then() is not called for errors: they pass through
}

void cancel() {
  std::vector<Gate> gates(1);
  conc::ThreadPoolExecutor pool{1};
  const OpenAtEnd open_at_end{gates};
  const conc::Future<int> running = pool.submit([&gates] {
    gates[0].pass();
    return 42;
  });
  const conc::Future<int> queued = pool.submit(add, 1, 2);

  gates[0].reached.wait();
  SHOW(queued.cancel());
  SHOW(queued.cancelled());
  SHOW(queued.done());  // cancelled is done, too
  SHOW(queued.result());
  SHOW(running.cancel());  // too late: it runs
  gates[0].open.set();
  SHOW(running.result());
  SHOW(running.cancel());

  // A task that takes a StopToken can be asked to end while it runs. Whether it does, and with what, is up to it.
  conc::Event begun;
  const conc::Future<std::string> polite = pool.submit([&begun](conc::StopToken token) {
    conc::Event asked;
    const conc::StopCallback on_stop{token, [&asked] { asked.set(); }};
    begun.set();
    asked.wait();
    return std::string("stopped half way");
  });
  begun.wait();
  SHOW(polite.cancel());
  SHOW(polite.request_stop());
  SHOW(polite.result());
}

/// Tasks with names. Each returns its name once its gate is open; the one called "bad" throws.
class NamedTasks {
 public:
  explicit NamedTasks(const std::vector<std::string>& names) : gates_(names.size()) {
    for (std::size_t i = 0; i < names.size(); ++i) {
      futures_.push_back(pool_.submit([&gate = gates_[i], name = names[i]] {
        gate.pass();
        if (name == "bad") throw std::runtime_error("the bad one fails");
        return name;
      }));
      names_.emplace(futures_.back(), names[i]);
    }
  }

  const std::vector<conc::Future<std::string>>& futures() const { return futures_; }

  const std::string& name(const conc::Future<std::string>& future) const { return names_.at(future); }

  void open(std::size_t i) { gates_[i].open.set(); }

  void finish(std::size_t i) {
    open(i);
    futures_[i].wait();
  }

 private:
  std::vector<Gate> gates_;
  conc::ThreadPoolExecutor pool_{4};
  OpenAtEnd open_at_end_{gates_};
  std::vector<conc::Future<std::string>> futures_;
  std::unordered_map<conc::Future<std::string>, std::string> names_;
};

void wait() {
  NamedTasks tasks({"good", "bad", "late"});
  const auto print = [&tasks](const char* text, const auto& result) {
    const auto& [done, not_done] = result;
    std::string line = std::string(text) + ": done";
    for (const conc::Future<std::string>& future : done) {
      line += " " + tasks.name(future) + (future.exception() ? " (failed)" : "");
    }
    line += "; not done";
    for (const conc::Future<std::string>& future : not_done) line += " " + tasks.name(future);
    say(line);
  };

  print("before anything is done, for 20 ms", conc::wait(tasks.futures(), 20ms));
  tasks.open(0);
  print("first_completed", conc::wait(tasks.futures(), {.return_when = conc::ReturnWhen::first_completed}));
  tasks.open(1);
  print("first_exception", conc::wait(tasks.futures(), {.return_when = conc::ReturnWhen::first_exception}));
  print("all_completed, for 20 ms", conc::wait(tasks.futures(), {.timeout = 20ms}));
  tasks.open(2);
  print("all_completed", conc::wait(tasks.futures()));
}

/// A line that is drawn anew on a terminal, and lines otherwise.
void print_progress(std::size_t finished, std::size_t all, const std::string& text) {
  static const bool terminal = ::isatty(STDOUT_FILENO) == 1;
  std::cout << (terminal ? "\r  [" : "  [") << std::string(finished, '#') << std::string(all - finished, '.') << "] "
            << finished << "/" << all << "  " << std::left << std::setw(12) << text;
  if (!terminal || finished == all) std::cout << '\n';
  std::cout << std::flush;
}

void as_completed() {
  NamedTasks tasks({"apple", "bad", "cherry", "date"});
  const std::size_t all = tasks.futures().size();

  // Each future comes when it is done. Here the third opens the gate of the first, that of the second, and so on.
  const std::vector<std::size_t> order = {2, 0, 1, 3};
  tasks.open(order[0]);
  std::size_t finished = 0;
  for (const conc::Future<std::string>& future : conc::as_completed(tasks.futures(), 1h)) {
    ++finished;
    print_progress(finished, all, tasks.name(future) + (future.exception() ? " failed" : ""));
    if (finished < all) tasks.open(order[finished]);
  }

  NamedTasks more({"elder", "fig", "grape"});
  more.finish(1);
  try {
    for (const conc::Future<std::string>& future : conc::as_completed(more.futures(), 20ms)) {
      say(future.result() + " is in time");
    }
  } catch (const conc::TimeoutError& e) {
    say(std::string("TimeoutError: ") + e.what());
  }
}

void map() {
  conc::ThreadPoolExecutor pool{4};
  const std::vector<int> ones = {1, 2, 3, 4, 5};
  const std::vector<int> tens = {10, 20, 30};
  std::string line = "sums:";
  for (const int sum : pool.map(add, ones, tens)) line += " " + std::to_string(sum);
  say(line + " (in the order of the input; the shorter range decides)");

  const std::vector<std::string> words = {"7", "8", "nine", "10"};
  try {
    for (const int number : pool.map(parse, words)) say("parsed " + std::to_string(number));
  } catch (const std::exception& e) {
    say(std::string("the next one throws: ") + e.what());
  }

  std::size_t letters = 0;
  const auto length = [](const std::string& word) { return word.size(); };
  for (const std::size_t count : pool.map({.timeout = 1h, .chunksize = 2}, length, words)) letters += count;
  say("letters, counted two words at a time: " + std::to_string(letters));
}

/// A task that waits for tasks of its own pool.
struct Fibonacci {
  conc::ThreadPoolExecutor& pool;

  int operator()(int n) const {
    if (n < 2) return n;
    const conc::Future<int> one = pool.submit(*this, n - 1);
    const conc::Future<int> two = pool.submit(*this, n - 2);
    return one.result() + two.result();
  }
};

/// A task that waits for another one.
struct WaitsFor {
  conc::Future<conc::Future<int>> other;

  int operator()() const { return other.result().result(); }
};

void nested() {
  conc::ThreadPoolExecutor pool{1};
  const conc::Future<int> fibonacci = pool.submit(Fibonacci{pool}, 15);
  SHOW(pool.max_workers());
  SHOW(fibonacci.result());

  // Each is told of the other once both are there.
  const conc::Promise<conc::Future<int>> first_told;
  const conc::Promise<conc::Future<int>> second_told;
  const conc::Future<int> first = pool.submit(WaitsFor{first_told.get_future()});
  const conc::Future<int> second = pool.submit(WaitsFor{second_told.get_future()});
  first_told.set_result(second);
  second_told.set_result(first);
  try {
    first.result();
  } catch (const conc::DeadlockError& e) {
    say(std::string("DeadlockError: ") + e.what());
  }
}

struct Chapter {
  const char* name;
  const char* title;
  void (*run)();
};

constexpr Chapter kChapters[] = {
    {"done", "pending, running, done", done},
    {"timeouts", "a result that does not come in time", timeouts},
    {"exceptions", "what a task throws comes out of result()", exceptions},
    {"callbacks", "what is called when a future is done", callbacks},
    {"cancel", "before it runs, and while it runs", cancel},
    {"wait", "for the first, for an exception, for all", wait},
    {"as_completed", "in the order in which they are done", as_completed},
    {"map", "a function over ranges", map},
    {"nested", "tasks that wait for tasks, in a pool of one worker", nested},
};

std::string description() {
  std::string text = "Shows what futures do, chapter by chapter:\n\n";
  for (const Chapter& chapter : kChapters) {
    text += std::string("  ") + chapter.name + std::string(14 - std::string(chapter.name).size(), ' ') + chapter.title +
            "\n";
  }
  return text + "\nExit code: 0 all is shown, 1 something went wrong, 2 wrong use.\n";
}

bool wanted(const std::vector<std::string>& names, const Chapter& chapter) {
  if (names.empty()) return true;
  for (const std::string& name : names) {
    if (name == chapter.name) return true;
  }
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> names;
  CLI::App app{description()};
  std::vector<std::string> known;
  for (const Chapter& chapter : kChapters) known.emplace_back(chapter.name);
  app.add_option("chapter", names, "Chapters to show [all]")->check(CLI::IsMember(known));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  try {
    for (const Chapter& chapter : kChapters) {
      if (!wanted(names, chapter)) continue;
      std::cout << chapter.name << ": " << chapter.title << '\n';
      chapter.run();
    }
  } catch (const std::exception& e) {
    std::cout << std::flush;
    std::cerr << "futures_tour: " << e.what() << '\n';
    return 1;
  }
  return 0;
}
