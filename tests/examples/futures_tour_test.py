"""futures_tour: prints what the chapters promise, line by line, whatever else the machine does."""

import os
import pty
import subprocess
import sys

sys.dont_write_bytecode = True
import programs  # noqa: E402


def shown(*lines):
    """Lines of the form 'expression -> value' as the program aligns them."""
    pairs = [line.split(" -> ") for line in lines]
    return "".join(f"  {expression:42} -> {value}\n" for expression, value in pairs)


def said(*lines):
    return "".join(f"  {line}\n" for line in lines)


def progress(finished, of, text):
    return f"  [{'#' * finished}{'.' * (of - finished)}] {finished}/{of}  {text:12}"


AS_COMPLETED = [
    progress(1, 4, "cherry"), progress(2, 4, "apple"), progress(3, 4, "bad failed"), progress(4, 4, "date"),
]
WAITS_FOR = "(anonymous namespace)::WaitsFor"
IN_TIME = said("fig is in time", "TimeoutError: as_completed: 2 (of 3) futures unfinished")

CHAPTERS = {
    "done": "done: pending, running, done\n" + shown(
        "first.running() -> true",
        "first.done() -> false",
        "second.running() -> false",
        "second.done() -> false",
        "second.result() -> 3",
        "second.done() -> true",
        "first.done() -> true",
        "first.running() -> false",
        "first.result() -> 42",
        "first.result() -> 42",
    ),
    "timeouts": "timeouts: a result that does not come in time\n" + shown(
        "slow.result(20ms) -> TimeoutError",
        "slow.result(0s) -> TimeoutError",
        "slow.wait(20ms) -> false",
        "slow.done() -> false",
        "slow.result(1h) -> at last",
    ),
    "exceptions": "exceptions: what a task throws comes out of result()\n" + shown(
        "good.result() -> 42",
        "good.exception() == nullptr -> true",
        "bad.result() -> throws \"'4 apples' is no number\"",
        "bad.result() -> throws \"'4 apples' is no number\"",
        "bad.exception() != nullptr -> true",
    ) + said(
        "caught a std::invalid_argument: '4 apples' is no number",
        "nobody asked, so the hook tells: '5 pears' is no number",
    ),
    "callbacks": "callbacks: what is called when a future is done\n" + said(
        "nothing is called before the task is done",
        "first callback: 42, on tour_0",
        "second callback: 42, on tour_0",
        "late callback: 42, on MainThread",
    ) + shown(
        "twice.result() -> 84",
        "text.result() -> the double is 84",
        "bad.result() -> throws \"'x' is no number\"",
    ),
    "cancel": "cancel: before it runs, and while it runs\n" + shown(
        "queued.cancel() -> true",
        "queued.cancelled() -> true",
        "queued.done() -> true",
        "queued.result() -> CancelledError",
        "running.cancel() -> false",
        "running.result() -> 42",
        "running.cancel() -> false",
        "polite.cancel() -> false",
        "polite.request_stop() -> true",
        "polite.result() -> stopped half way",
    ),
    "wait": "wait: for the first, for an exception, for all\n" + said(
        "before anything is done, for 20 ms: done; not done good bad late",
        "first_completed: done good; not done bad late",
        "first_exception: done good bad (failed); not done late",
        "all_completed, for 20 ms: done good bad (failed); not done late",
        "all_completed: done good bad (failed) late; not done",
    ),
    "as_completed": "as_completed: in the order in which they are done\n"
    + "".join(line + "\n" for line in AS_COMPLETED) + IN_TIME,
    "map": "map: a function over ranges\n" + said(
        "sums: 11 22 33 (in the order of the input; the shorter range decides)",
        "parsed 7",
        "parsed 8",
        "the next one throws: 'nine' is no number",
        "letters, counted two words at a time: 8",
    ),
    "nested": "nested: tasks that wait for tasks, in a pool of one worker\n" + shown(
        "pool.max_workers() -> 1",
        "fibonacci.result() -> 610",
    ) + said("DeadlockError: Future::result: the wait would never end: " + " waits for ".join([WAITS_FOR] * 3)),
}


class FuturesTour(programs.ProgramTest):
    def test_every_line(self):
        for chapter, text in CHAPTERS.items():
            out, err = self.run_program(self.command("futures_tour", chapter))
            self.assertEqual((out, err), (text, ""))
        out, err = self.run_program(self.command("futures_tour"))
        self.assertEqual((out, err), ("".join(CHAPTERS.values()), ""))

    def test_the_same_lines_on_a_busy_machine(self):
        command = self.command("futures_tour")
        for _ in range(5):
            processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(8)]
            for process in processes:
                self.addCleanup(process.stdout.close)
                self.addCleanup(process.wait)
                self.addCleanup(process.kill)
            for process in processes:
                out, _ = process.communicate(timeout=programs.SECONDS)
                self.assertEqual((process.returncode, out.decode()), (0, "".join(CHAPTERS.values())))

    def test_several_chapters_come_in_the_order_of_the_tour(self):
        out, _ = self.run_program(self.command("futures_tour", "map", "done", "map"))
        self.assertEqual(out, CHAPTERS["done"] + CHAPTERS["map"])

    def test_progress_on_a_terminal_is_one_line(self):
        terminal, other_end = pty.openpty()
        self.addCleanup(os.close, terminal)
        process = subprocess.Popen(self.command("futures_tour", "as_completed"), stdout=other_end)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        os.close(other_end)
        seen = b""
        while True:
            try:
                seen += os.read(terminal, 1000)
            except OSError:  # the other end is closed
                break
        self.assertEqual(process.wait(), 0)
        title = CHAPTERS["as_completed"].splitlines()[0] + "\n"
        line = "".join("\r" + frame for frame in AS_COMPLETED) + "\n"
        self.assertEqual(seen.decode().replace("\r\n", "\n"), title + line + IN_TIME)

    def test_wrong_use(self):
        out, _ = self.run_program(self.command("futures_tour", "--help"))
        for chapter, text in CHAPTERS.items():
            title = text.splitlines()[0].split(": ")[1]
            self.assertRegex(out, rf"(?m)^  {chapter} +{title.replace('(', '.').replace(')', '.')}$")
        out, err = self.run_program(self.command("futures_tour", "sleep"), 2)
        self.assertEqual(out, "")
        self.assertIn("sleep not in", err)
        _, err = self.run_program(self.command("futures_tour", "--color"), 2)
        self.assertIn("--color", err)


if __name__ == "__main__":
    programs.main()
