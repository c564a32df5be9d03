// SPDX-License-Identifier: MIT
#include "modes.hpp"

#include <deque>
#include <functional>
#include <thread>
#include <utility>

#include <conc/lock.hpp>
#include <conc/synchronized.hpp>
#include <conc/task_group.hpp>
#include <conc/thread_pool.hpp>

#include "step_by_step.hpp"

namespace draw_charts {
namespace {

/// Calls draw(i) for each chart i of one of several threads: every so manyth.
template <class Draw>
void draw_share(std::size_t thread, std::size_t threads, std::size_t charts, const Draw& draw) {
  for (std::size_t i = thread; i < charts; i += threads) draw(i);
}

/// The same with all threads, which run as they like.
template <class Draw>
void draw_in_threads(std::size_t threads, std::size_t charts, const Draw& draw) {
  conc::ThreadPoolExecutor pool{static_cast<int>(threads)};
  conc::TaskGroup group{pool};
  for (std::size_t thread = 0; thread < threads; ++thread) {
    group.run([=, &draw] { draw_share(thread, threads, charts, draw); });
  }
  group.wait();  // throws what one of them threw
}

/// Invites other threads to come in between.
void offer_the_cpu() { std::this_thread::yield(); }

void one_by_one(Canvas& canvas, const std::vector<Chart>& charts, std::size_t /*threads*/) {
  for (const Chart& chart : charts) draw_line(canvas, chart, [] {});
}

/// Nobody locks. The threads take turns: one at a time touches the canvas, and hands over after a third of its line. So
/// there is no data race, the picture is the same every time, and it is wrong every time: one thread's line goes on
/// where another thread has put the pen, in the color that this one has chosen.
void without_lock(Canvas& canvas, const std::vector<Chart>& charts, std::size_t threads) {
  std::deque<StepByStep> all;
  for (std::size_t thread = 0; thread < threads; ++thread) {
    all.emplace_back([&, thread](const StepByStep::Pause& hand_over) {
      draw_share(thread, threads, charts.size(), [&](std::size_t i) {
        const std::size_t third = (charts[i].line.size() + 2) / 3;
        draw_line(canvas, charts[i], [&, points = std::size_t{0}]() mutable {
          if (++points % third == 0) hand_over();
        });
      });
    });
  }
  for (bool more = true; more;) {
    more = false;
    for (StepByStep& one : all) more = one.step() || more;
  }
  for (const StepByStep& one : all) one.result();
}

/// The lock is held for a whole line.
void with_lock(Canvas& canvas, const std::vector<Chart>& charts, std::size_t threads) {
  conc::Lock lock;
  draw_in_threads(threads, charts.size(), [&](std::size_t i) {
    const conc::ScopedLock held{lock};
    draw_line(canvas, charts[i], offer_the_cpu);
  });
}

/// A canvas that looks safe: every function locks. But between two of them others may come in, so a line needs the lock,
/// too, from its beginning to its end. Then the functions lock what their own thread has locked already: a Lock would
/// wait for ever, an RLock counts.
class LockingCanvas {
 public:
  explicit LockingCanvas(Canvas& canvas) : canvas_(canvas) {}

  void set_color(const Color& color) {
    const conc::ScopedLock held{lock_};
    canvas_.set_color(color);
  }
  void move_to(const Point& to) {
    const conc::ScopedLock held{lock_};
    canvas_.move_to(to);
  }
  void line_to(const Point& to) {
    const conc::ScopedLock held{lock_};
    canvas_.line_to(to);
  }
  void stroke(double width) {
    const conc::ScopedLock held{lock_};
    canvas_.stroke(width);
  }
  void draw(const Chart& chart) {
    const conc::ScopedLock held{lock_};
    draw_line(*this, chart, offer_the_cpu);
  }

 private:
  conc::RLock lock_;
  Canvas& canvas_;
};

void with_rlock(Canvas& canvas, const std::vector<Chart>& charts, std::size_t threads) {
  LockingCanvas locking(canvas);
  draw_in_threads(threads, charts.size(), [&](std::size_t i) { locking.draw(charts[i]); });
}

/// The canvas moves in with its lock: there is no way to it but with(), so nobody can forget to lock.
void with_synchronized(Canvas& canvas, const std::vector<Chart>& charts, std::size_t threads) {
  conc::Synchronized<Canvas> guarded{std::move(canvas)};
  draw_in_threads(threads, charts.size(), [&](std::size_t i) {
    guarded.with([&](Canvas& mine) { draw_line(mine, charts[i], offer_the_cpu); });
  });
  canvas = std::move(*guarded.lock());
}

/// Nothing is shared, so there is nothing to lock, and nobody waits: each chart has a canvas that one thread alone
/// touches. In the end they are put together.
void with_own_canvas(Canvas& canvas, const std::vector<Chart>& charts, std::size_t threads) {
  std::vector<Canvas> own;
  for (const Chart& chart : charts) own.push_back(canvas.cut_out(chart.cell));
  draw_in_threads(threads, charts.size(), [&](std::size_t i) { draw_line(own[i], charts[i], [] {}); });
  for (const Canvas& part : own) canvas.paste(part);
}

}  // namespace

const std::vector<Mode> kModes = {
    {"serial", true, one_by_one}, {"unlocked", false, without_lock},         {"lock", true, with_lock},
    {"rlock", true, with_rlock},  {"synchronized", true, with_synchronized}, {"own", true, with_own_canvas},
};

}  // namespace draw_charts
