// SPDX-License-Identifier: MIT
// The main of every test executable: Catch2, with what must hold after each case.
//
// After a case there are the threads, file descriptors and child processes there were before it, the directory for
// temporary files is empty, and stderr got nothing that the case did not take (take_stderr) or announce (the tag
// [stderr]). A case that runs too long is ended by the watchdog.
#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <catch2/catch_session.hpp>
#include <catch2/catch_test_case_info.hpp>
#include <catch2/reporters/catch_reporter_event_listener.hpp>
#include <catch2/reporters/catch_reporter_registrars.hpp>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <set>
#include <string>

#include "support.hpp"
#include "watchdog.hpp"

// There only under a sanitizer: calls the given function before the sanitizer ends the process.
extern "C" [[gnu::weak]] void __sanitizer_set_death_callback(void (*callback)());

// There only in a test that wants other options.
extern "C" [[gnu::weak]] const char conc_test_tsan_options[];

// There only in a test that includes processes.hpp: prepares for worker processes, before there are other threads.
extern "C" [[gnu::weak]] void conc_test_process_init(int argc, char** argv);

// ThreadSanitizer would spend a second at the end of each process, waiting for races with the watchdog.
extern "C" const char* __tsan_default_options() {
  return conc_test_tsan_options != nullptr ? conc_test_tsan_options : "atexit_sleep_ms=0";
}

namespace {

/// Where file descriptor 2 leads during a case: a file in memory, read when the case has ended or died.
class StderrCapture {
 public:
  StderrCapture() : real_{::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3)}, file_{::memfd_create("stderr", MFD_CLOEXEC)} {
    ::fcntl(file_, F_SETFL, O_APPEND);
  }

  int real() const { return real_; }

  void begin() {
    if (::ftruncate(file_, 0) != 0) std::abort();
    taken_ = 0;
    ::dup2(file_, STDERR_FILENO);
    on_ = true;
  }

  /// What came since begin() or the last take().
  std::string take() {
    std::string text;
    if (!on_) return text;
    std::array<char, 4096> part;
    for (ssize_t n = 0; (n = ::pread(file_, part.data(), part.size(), taken_)) > 0; taken_ += n) {
      text.append(part.data(), static_cast<std::size_t>(n));
    }
    return text;
  }

  /// Ends the capture and shows what nobody has taken. Returns whether there was such output.
  bool end() {
    const std::string rest = take();
    if (on_) ::dup2(real_, STDERR_FILENO);
    on_ = false;
    return !rest.empty() && ::write(real_, rest.data(), rest.size()) != 0;
  }

 private:
  int real_;
  int file_;
  off_t taken_ = 0;
  bool on_ = false;
};

StderrCapture& captured_stderr() {
  static auto* const capture = new StderrCapture;  // never destroyed: a process can die at any time
  return *capture;
}

/// The directory for temporary files, of this process alone.
std::string& temporary_directory() {
  static auto* const path = new std::string{(std::filesystem::temp_directory_path() / "conc_test_XXXXXX").string()};
  return *path;
}

/// What must not get lost, and not stay behind, when the process dies in the middle of a case.
void before_death() {
  captured_stderr().end();
  ::rmdir(temporary_directory().c_str());
}

/// The names in a directory below /proc/self, and what they link to if they are links.
std::map<std::string, std::string> entries(const std::string& directory) {
  std::map<std::string, std::string> result;
  DIR* const stream = ::opendir(directory.c_str());
  if (stream == nullptr) return result;
  const std::string own = std::to_string(::dirfd(stream));
  while (const dirent* const entry = ::readdir(stream)) {
    const std::string name = entry->d_name;
    if (name[0] == '.' || (entry->d_type == DT_LNK && name == own)) continue;
    std::array<char, 256> target{};
    const ssize_t length = ::readlink((directory + "/" + name).c_str(), target.data(), target.size());
    result[name] = std::string{target.data(), static_cast<std::size_t>(std::max<ssize_t>(0, length))};
  }
  ::closedir(stream);
  return result;
}

/// What a case must leave as it found it.
struct World {
  std::map<std::string, std::string> threads = entries("/proc/self/task");
  std::map<std::string, std::string> descriptors = entries("/proc/self/fd");
};

int violations = 0;

void complain(const std::string& case_name, const std::string& what) {
  ++violations;
  std::fprintf(stderr, "invariant: after \"%s\": %s\n", case_name.c_str(), what.c_str());
}

void compare(const World& before, const std::string& case_name) {
  const auto new_threads = [&before] {
    std::string names;
    for (const auto& [id, unused] : entries("/proc/self/task")) {
      if (!before.threads.contains(id)) names += " " + id;
    }
    return names;
  };
  // A joined thread is gone for its joiner a moment before it is gone from /proc.
  if (!conc_test::eventually([&] { return new_threads().empty(); }, std::chrono::seconds{5})) {
    complain(case_name, "threads are left:" + new_threads());
  }
  const auto descriptors = entries("/proc/self/fd");
  for (const auto& [number, target] : descriptors) {
    if (!before.descriptors.contains(number))
      complain(case_name, "file descriptor left open: " + number + " -> " + target);
  }
  for (const auto& [number, target] : before.descriptors) {
    if (!descriptors.contains(number)) complain(case_name, "file descriptor closed: " + number + " -> " + target);
  }
  siginfo_t child{};
  if (::waitid(P_ALL, 0, &child, WEXITED | WNOHANG | WNOWAIT) == 0) complain(case_name, "child processes are left");
  std::error_code ignored;
  for (const auto& file : std::filesystem::directory_iterator{temporary_directory(), ignored}) {
    const std::string name = file.path().filename().string();
    // ThreadSanitizer's own, of a process that was killed while it started.
    if (!name.starts_with("tsan.rodata.")) complain(case_name, "temporary file left: " + name);
    std::filesystem::remove_all(file.path(), ignored);
  }
}

class Invariants : public Catch::EventListenerBase {
 public:
  using EventListenerBase::EventListenerBase;

  void testCaseStarting(const Catch::TestCaseInfo& info) override {
    names_.insert(info.name);
    conc_test::watch(names_.find(info.name)->c_str(), conc_test::case_limit());
    before_ = World{};
    const bool announced = std::any_of(info.tags.begin(), info.tags.end(),
                                       [](const Catch::Tag& tag) { return tag == Catch::Tag{"stderr"}; });
    if (!announced) captured_stderr().begin();
  }

  void testCaseEnded(const Catch::TestCaseStats& stats) override {
    const std::string& name = stats.testInfo->name;
    if (captured_stderr().end()) complain(name, "unexpected output on stderr, shown above");
    compare(before_, name);
    conc_test::watch("the end of the process", conc_test::case_limit());
  }

  // Also called when a case dies of a signal.
  void testRunEnded(const Catch::TestRunStats&) override { ::rmdir(temporary_directory().c_str()); }

 private:
  std::set<std::string> names_;  // the watchdog keeps pointers to them
  World before_;
};

CATCH_REGISTER_LISTENER(Invariants)

}  // namespace

std::string conc_test::take_stderr() {
  std::fflush(stderr);
  return captured_stderr().take();
}

int main(int argc, char** argv) {
  if (conc_test_process_init != nullptr) conc_test_process_init(argc, argv);
  if (::mkdtemp(temporary_directory().data()) == nullptr) {
    std::perror("mkdtemp");
    return EXIT_FAILURE;
  }
  ::setenv("TMPDIR", temporary_directory().c_str(), 1);
  if (__sanitizer_set_death_callback != nullptr) __sanitizer_set_death_callback(before_death);
  conc_test::start_watchdog(captured_stderr().real(), before_death);
  const int result = Catch::Session().run(argc, argv);
  ::rmdir(temporary_directory().c_str());  // a run that only lists its cases has no end of its own
  return violations == 0 ? result : EXIT_FAILURE;
}
