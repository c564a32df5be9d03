"""Proves that the headers below include/conc keep their floors. Usage: floors.py INCLUDE_DIR

A header includes headers of strictly lower floors only, keeps away from expensive standard headers, and stays short. The
errors that it defines are visible to other modules.
A header that is not in the table is an error: give it a floor.
"""

import re
import sys
from pathlib import Path

FLOORS = {
    # Below the seam: its backends, which nobody else includes.
    "detail/sync_posix.hpp": -2,
    "detail/sync_linux.hpp": -1,
    "detail/sync_portable.hpp": -1,
    "detail/sync_sim.hpp": -1,
    # The seam, and what is nothing but macros.
    "annotations.hpp": 0,
    "detail/sync.hpp": 0,
    # Errors and time; deadline.hpp throws, so it stands above error.hpp, and the wait point takes a Deadline.
    "error.hpp": 1,
    "cpu_count.hpp": 1,
    "deadline.hpp": 1.3,
    "detail/wait_point.hpp": 1.6,
    # What CONC_DEBUG knows of locks; without it tracker.hpp stands alone.
    "detail/hold.hpp": 1,
    "detail/backtrace.hpp": 1,
    "detail/throw_trace.hpp": 1.5,
    "detail/lock_report.hpp": 1.3,
    "detail/lock_graph.hpp": 1.6,
    "detail/tracker.hpp": 1.8,
    # On the wait point.
    "atomic_integer.hpp": 2,
    "detail/block_list.hpp": 1,
    "detail/kept_items.hpp": 1,
    "detail/heap.hpp": 2,
    "detail/stack.hpp": 2,
    "detail/event_count.hpp": 2,
    "detail/ref.hpp": 2,
    "detail/ring.hpp": 2,
    "detail/byte_buffer.hpp": 2,
    "detail/pickle_members.hpp": 2,
    "detail/pickle_values.hpp": 2.3,
    "detail/pickle_containers.hpp": 2.5,
    "detail/pickle_vocabulary.hpp": 2.6,
    "detail/pickle_formats.hpp": 2.7,
    "event.hpp": 2,
    "lock.hpp": 2,
    "semaphore.hpp": 2,
    # Made of those.
    "pickle.hpp": 3,
    "pickle_cereal.hpp": 3.3,
    "shared_array.hpp": 4.5,
    "condition.hpp": 3,
    "detail/locked_items.hpp": 3,
    "detail/channel.hpp": 3.5,
    "queue.hpp": 4,
    "rw_lock.hpp": 3,
    "synchronized.hpp": 3,
    "detail/thread_values.hpp": 4,
    "barrier.hpp": 4,
    "detail/registry.hpp": 4,
    "thread.hpp": 5,
    # Other processes: programs that are run, then workers.
    "detail/descriptor.hpp": 1,
    "detail/child.hpp": 4,
    "detail/exchange.hpp": 4.5,
    "subprocess.hpp": 5,
    # A call in another process.
    "detail/code_table.hpp": 1,
    "remote_error.hpp": 5,
    "detail/remote_exception.hpp": 5.6,
    "detail/remote_code.hpp": 5.8,
    "detail/frame.hpp": 1,
    "detail/worker_loop.hpp": 6.7,
    "detail/worker_entry.hpp": 6.8,
    "detail/fork_server_loop.hpp": 6.85,
    "detail/fork_server.hpp": 6.9,
    "detail/worker_process.hpp": 7,
    "detail/process_state.hpp": 7.5,
    "process.hpp": 8,
    # The pool of them.
    "detail/broker.hpp": 4,
    "detail/shipment.hpp": 6,
    "detail/process_workers.hpp": 7.5,
    "process_pool.hpp": 8.5,
    # Futures: the state, what is done with it, the handles; then what needs several of them.
    "detail/recycler.hpp": 2.5,
    "detail/action.hpp": 3,
    "stop_token.hpp": 3,
    "detail/task.hpp": 3.5,
    "detail/inbox.hpp": 4,
    "detail/lobby.hpp": 4,
    "detail/work_deque.hpp": 4,
    "detail/wait_graph.hpp": 4,
    "detail/future_core.hpp": 5.3,
    "detail/future_state.hpp": 5.5,
    "detail/continuation.hpp": 5.7,
    "future.hpp": 6,
    "detail/completions.hpp": 6,
    "detail/scheduler.hpp": 6,
    "detail/loop.hpp": 6,
    "detail/map_result.hpp": 6.5,
    "wait.hpp": 7,
    "executor.hpp": 7,
    "thread_pool.hpp": 8,
    "task_group.hpp": 8.5,
    "conc.hpp": 9,
    # The event loop stands on Asio, and on the pool that its coroutines give their slow calls to.
    "detail/asio.hpp": 10,
    "detail/loop_call.hpp": 6,
    "detail/event_loop_core.hpp": 10.3,
    "detail/use_future.hpp": 10.3,
    "detail/loop_coroutine.hpp": 10.5,
    "detail/bell.hpp": 10.5,
    "detail/children.hpp": 10.7,
    "event_loop.hpp": 11,
    # The explorer stands apart: it drives a whole program, compiled with CONC_EXPLORE, and no other header includes it.
    "detail/race_detector.hpp": 90,
    "detail/fiber.hpp": 90.5,
    "detail/chooser.hpp": 91,
    "detail/narrator.hpp": 91,
    "detail/explorer.hpp": 92,
    "detail/watchdog.hpp": 93,
    "testing.hpp": 94,
}
EVENT_LOOP = 10  # the lowest of its floors
EXPLORER = 90  # likewise
EXPENSIVE = {"functional", "iostream", "ranges", "algorithm", "map", "regex"}
MOST_CODE_LINES = 350
HIDDEN_ERROR = re.compile(r"^(?:class|struct) (\w+)[^{;\]]*(?<!:): *(?:public )?(?:std::\w*(?:_error|exception)|\w*Error|BrokenExecutor)\b",
                          flags=re.MULTILINE)


def code_lines(text: str) -> int:
    """Lines that hold more than comments and white space."""
    pattern = r'"(?:\\.|[^"\\\n])*"|//[^\n]*|/\*.*?\*/'
    keep_strings = lambda match: match.group() if match.group().startswith('"') else "\n" * match.group().count("\n")
    return sum(1 for line in re.sub(pattern, keep_strings, text, flags=re.DOTALL).splitlines() if line.strip())


def problems(root: Path):
    headers = {path.relative_to(root / "conc").as_posix(): path for path in sorted((root / "conc").rglob("*.hpp"))}
    if not headers:
        yield f"no headers below {root}"
    for name, path in headers.items():
        if name not in FLOORS:
            yield f"{name}: has no floor in the table of {Path(__file__).name}"
            continue
        text = path.read_text()
        for included in re.findall(r"^\s*#\s*include\s*[<\"]([^>\"]+)[>\"]", text, flags=re.MULTILINE):
            if not included.startswith("conc/"):
                if included in EXPENSIVE and FLOORS[name] < EVENT_LOOP:
                    yield f"{name}: includes the expensive <{included}>"
                continue
            target = included.removeprefix("conc/")
            if target not in headers and target in FLOORS:
                yield f"{name}: includes {target}, which does not exist"
            elif target not in FLOORS:
                yield f"{name}: includes {target}, which has no floor"
            elif FLOORS[target] >= FLOORS[name]:
                yield f"{name} (floor {FLOORS[name]}): includes {target} (floor {FLOORS[target]})"
        for error in HIDDEN_ERROR.findall(text):
            yield f"{name}: {error} needs [[gnu::visibility(\"default\")]], so that modules catch what others throw"
        lines = code_lines(text)
        if "/" not in name and lines >= MOST_CODE_LINES:
            yield f"{name}: {lines} lines of code; {MOST_CODE_LINES} are too many for a public header"


def main() -> int:
    found = list(problems(Path(sys.argv[1])))
    print("\n".join(found) or "all headers keep their floors")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
