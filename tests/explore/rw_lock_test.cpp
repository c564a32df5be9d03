// SPDX-License-Identifier: MIT
#include <conc/event.hpp>
#include <conc/rw_lock.hpp>

#include <algorithm>

#include "explore_type.hpp"

using namespace std::chrono_literals;
using conc::testing::check;
using conc::testing::parallel;
using conc_test::explore_type;
using conc_test::Tally;

namespace {

/// A lock, and who is inside: what is noted is no scheduling point, what lies between two notes is.
class Watched {
 public:
  bool read(conc::Deadline deadline = conc::never) {
    if (!lock.acquire_shared(deadline)) return false;
    read_inside();
    lock.release_shared();
    return true;
  }
  bool write(conc::Deadline deadline = conc::never) {
    if (!lock.acquire(deadline)) return false;
    write_inside();
    lock.release();
    return true;
  }
  void read_inside() {
    ++readers_;
    most_ = std::max<int>(most_, readers_);
    check(!writing_, "a reader is in while a writer is");
    steps_.fetch_add(1);
    check(!writing_, "a writer came in while a reader was");
    --readers_;
    ++reads;
  }
  void write_inside() {
    check(!writing_ && readers_ == 0, "a writer is not alone");
    writing_ = true;
    steps_.fetch_add(1);
    check(readers_ == 0, "a reader came in while a writer was");
    writing_ = false;
    ++writes;
  }
  /// Whether nobody has it, as both kinds see it. (A look may fail while another thread looks.)
  bool is_free() {
    if (!lock.try_acquire()) return false;
    lock.release();
    if (!lock.try_acquire_shared()) return false;
    lock.release_shared();
    return true;
  }
  int most_readers() const { return most_; }

  conc::RWLock lock;
  Tally reads;
  int writes = 0;

 private:
  conc::detail::sync::Atomic<int> steps_{0};
  Tally readers_;
  Tally most_;
  bool writing_ = false;
};

}  // namespace

TEST_CASE("RWLock: a reader and a writer never meet, in every schedule", "[rw_lock]") {
  explore_type("RWLock, a reader and a writer, twice each", [] {
    Watched watched;
    parallel([&] { watched.read(), watched.read(); }, [&] { watched.write(), watched.write(); });
    check(watched.reads == 2 && watched.writes == 2 && watched.is_free(), "a round is missing");
  });
}

TEST_CASE("RWLock: two writers and a reader never meet, in every schedule", "[rw_lock]") {
  explore_type("RWLock, two writers, one reader", [] {
    Watched watched;
    parallel([&] { watched.write(); }, [&] { watched.write(); }, [&] { watched.read(); });
    check(watched.reads == 1 && watched.writes == 2 && watched.is_free(), "a round is missing");
  });
}

TEST_CASE("RWLock: two readers and a writer, in every schedule", "[rw_lock]") {
  explore_type("RWLock, two readers, one writer", [] {
    Watched watched;
    parallel([&] { watched.read(); }, [&] { watched.read(); }, [&] { watched.write(); });
    check(watched.reads == 2 && watched.writes == 1 && watched.is_free(), "a round is missing");
  });
}

TEST_CASE("RWLock: timeouts of readers and writers leave it intact, in every schedule", "[rw_lock][timeout]") {
  explore_type("RWLock, two readers and a writer with deadlines", [] {
    Watched watched;
    Tally taken;
    parallel([&] { taken += watched.read(1ms) ? 1 : 0; }, [&] { taken += watched.read(1ms) ? 1 : 0; },
             [&] { taken += watched.write(1ms) ? 1 : 0; });
    check(watched.reads + watched.writes == taken && watched.is_free(), "who gave up left something behind");
  });
}

TEST_CASE("RWLock: a writer that gives up lets in whom it held back, in every schedule", "[rw_lock][timeout]") {
  explore_type("RWLock, a reader stays, a writer gives up, a reader is held back",
               [] {
                 Watched watched;
                 conc::Event nobody;
                 watched.lock.acquire_shared();
                 parallel([&] { check(!watched.write(1ms), "a reader stays for long"); },
                          [&] { watched.read(); },  // without an end, if it is forgotten
                          [&] {
                            check(!nobody.wait(2ms), "nobody sets it");
                            check(watched.reads == 1, "the reader is in while another stays");
                            watched.lock.release_shared();
                          });
                 check(watched.writes == 0 && watched.is_free(), "the writer left nothing behind");
               },
               {.mishaps = 0});
}

TEST_CASE("RWLock: a writer gives up while another waits and a reader is held back, in every schedule",
          "[rw_lock][timeout]") {
  explore_type("RWLock, a reader let in by one writer while a second gives up", [] {
    Watched watched;
    watched.lock.acquire();
    Tally taken;
    // The turn in which the reader is let in must not be missed, whoever changes the word meanwhile.
    parallel([&] { watched.read(); }, [&] { taken += watched.write(1ms) ? 1 : 0; },
             [&] {
               watched.lock.release();
               taken += watched.write(1ms) ? 1 : 0;
             });
    check(watched.reads == 1 && watched.writes == taken && watched.is_free(), "a round is missing");
  });
}

TEST_CASE("RWLock: a writer that gives up, a reader held back and a patient writer, in every schedule",
          "[rw_lock][timeout]") {
  explore_type("RWLock, a reader stays; an impatient writer, a patient one, a reader", [] {
    Watched watched;
    watched.lock.acquire_shared();
    Tally taken;
    parallel([&] { taken += watched.write(1ms) ? 1 : 0; }, [&] { watched.write(); }, [&] { watched.read(); },
             [&] {
               watched.read_inside();
               watched.lock.release_shared();
             });
    check(watched.reads == 2 && watched.writes == 1 + taken && watched.is_free(), "a round is missing");
  });
}

TEST_CASE("RWLock: a reader that gives up is not counted in, in every schedule", "[rw_lock][timeout]") {
  explore_type("RWLock, readers give up while the writer leaves",
               [] {
                 Watched watched;
                 conc::Event nobody;
                 watched.lock.acquire();
                 Tally taken;
                 parallel([&] { taken += watched.read(1ms) ? 1 : 0; }, [&] { watched.read(); },
                          [&] {
                            check(!nobody.wait(1ms), "nobody sets it");
                            watched.lock.release();  // at the very moment when the other's time is up
                            watched.write();
                          });
                 check(watched.reads == 1 + taken && watched.writes == 1 && watched.is_free(), "a round is missing");
               },
               {.mishaps = 0});
}

TEST_CASE("RWLock: the last reader wakes the writer, in every schedule", "[rw_lock]") {
  explore_type("RWLock, two release_shared against a waiting writer", [] {
    Watched watched;
    watched.lock.acquire_shared();
    watched.lock.acquire_shared();
    const auto leave = [&] {
      watched.read_inside();
      watched.lock.release_shared();
    };
    parallel(leave, leave, [&] { watched.write(); });
    check(watched.writes == 1 && watched.is_free(), "the writer was in");
  });
  explore_type("RWLock, release_shared against a writer with a deadline", [] {
    Watched watched;
    watched.lock.acquire_shared();
    bool taken = false;
    parallel([&] { watched.lock.release_shared(); }, [&] { taken = watched.write(1ms); }, [&] { watched.read(); });
    check(watched.writes == (taken ? 1 : 0) && watched.reads == 1 && watched.is_free(), "nothing is left behind");
  });
}

TEST_CASE("RWLock: all readers that wait for a writer get in before the next writer, in every schedule", "[rw_lock]") {
  explore_type("RWLock, a writer leaves, two readers and a writer wait",
               [] {
                 Watched watched;
                 conc::Event nobody;
                 watched.lock.acquire();
                 const auto read = [&] {
                   watched.lock.acquire_shared();
                   check(watched.writes == 0, "the next writer was in first");
                   watched.read_inside();
                   watched.lock.release_shared();
                 };
                 // The clock moves only when nobody can run: at 1 ms all three wait.
                 parallel(
                     read, read, [&] { watched.write(); },
                     [&] {
                       check(!nobody.wait(1ms), "nobody sets it");
                       watched.lock.release();
                     });
                 check(watched.reads == 2 && watched.writes == 1 && watched.is_free(), "a round is missing");
               },
               {.mishaps = 0});
}

TEST_CASE("RWLock: no reader passes a writer that waits, in every schedule", "[rw_lock]") {
  explore_type("RWLock, a writer waits for a reader, another reader comes",
               [] {
                 Watched watched;
                 conc::Event nobody;
                 watched.lock.acquire_shared();
                 parallel([&] { watched.write(); },
                          [&] {
                            check(!nobody.wait(1ms), "nobody sets it");  // now the writer waits
                            check(!watched.lock.try_acquire_shared(), "a writer waits");
                            check(!watched.read(1ms), "a writer waits");
                            watched.read();
                            check(watched.writes == 1, "the writer was first");
                          },
                          [&] {
                            check(!nobody.wait(3ms), "nobody sets it");
                            watched.lock.release_shared();
                          });
                 check(watched.reads == 1 && watched.is_free(), "a round is missing");
               },
               {.mishaps = 0});
}

TEST_CASE("RWLock: looks that do not wait never leave anything behind, in every schedule", "[rw_lock]") {
  explore_type("RWLock, try_acquire, try_acquire_shared and a reader", [] {
    Watched watched;
    parallel([&] { watched.write(0s); }, [&] { watched.read(0s); }, [&] { watched.read(); });
    check(watched.reads >= 1 && watched.is_free(), "the reader that waits was in");
  });
}

TEST_CASE("RWLock: one release too many is found by one thread, in every schedule", "[rw_lock][G5]") {
  explore_type("RWLock, two threads release once too often", [] {
    Watched watched;
    watched.lock.acquire();
    Tally refused;
    const auto release = [&] {
      try {
        watched.lock.release();
      } catch (const conc::UsageError&) {
        ++refused;
      }
    };
    parallel(release, release, [&] { watched.read(); });
    check(refused == 1 && watched.reads == 1 && watched.is_free(), "one of two fits");
  });
}
