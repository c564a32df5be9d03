"""lock_jobs: prints what the chapters promise, line by line; lock_jobs_debug reports the orders of the locks."""

import re
import sys

sys.dont_write_bytecode = True
import programs  # noqa: E402

JOBS = {"add 1": 1, "add 10": 10, "add 100": 100, "add 1000": 1000}


def said(*lines):
    return "".join(f"  {line}\n" for line in lines)


def interleaved(rounds):
    lines, total = [], 0
    for _ in range(rounds):
        lines += [f"{job}: reads {total}" for job in JOBS]
        lines += [f"{job}: writes {total + amount}" for job, amount in JOBS.items()]
        total += 1000
    return said(*lines, f"total: {total}, and should be {1111 * rounds}")


def locked(rounds):
    lines, total = [], 0
    names = list(JOBS)
    for job, following in zip(names, [*names[1:], None]):
        if following:
            lines.append(f"{following}: has to wait")
        for _ in range(rounds):
            lines.append(f"{job}: reads {total}, writes {total + JOBS[job]}")
            total += JOBS[job]
    return said(*lines, f"total: {total}, as it should be")


def chapters(rounds, *, debug=False):
    """Of each chapter its title and what it prints below that."""
    return {
        "interleaved": ("four jobs add to one number, without a lock", interleaved(rounds)),
        "locked": ("the same jobs with a Lock", locked(rounds)),
        "nested": ("a job that holds the lock calls one that takes it", said(
            "RLock: 4 of 4 jobs got the lock that their caller holds",
            "Lock: 0 of 4 jobs got the lock that their caller holds, each gave up at its deadline",
            "without a deadline the first one would wait for ever",
        )),
        "deadlock": ("two jobs take two locks in different orders", said(
            *2 * ["gave up at its deadline, holding its first lock"],
            "without a deadline both would wait for ever",
        )),
        "order": ("the same orders, when nothing hangs", said(
            "save() has ended before spend() began: nothing hung",
            "all the same it is reported:" if debug else
            "and nobody noticed; lock_jobs_debug, compiled with CONC_DEBUG, reports what could have been",
        )),
        "cured": ("ScopedLock takes both locks", said(
            f"{2000 * rounds} transfers in both directions at once, and nothing is lost",
            *(["nothing is reported"] if debug else []),
        )),
    }


# The report, in which each call stack is cut down to the functions of the program that have a name.
ADDRESS = r"0x[0-9a-f]+"
REPORT = "".join(rf"{line}\n" for line in (
    rf"2 locks are taken in orders that can deadlock: ({ADDRESS}) \(savings\) -> ({ADDRESS}) \(checking\) -> \1 \(savings\)",
    r"  Thread (\d+) took \1 \(savings\):",
    r"      at spend\(\)",
    r"  and waited for \2 \(checking\) while it held that:",
    r"      at spend\(\)",
    r"  Thread (?!\3)\d+ took \2 \(checking\):",
    r"      at save\(\)",
    r"  and waited for \1 \(savings\) while it held that:",
    r"      at save\(\)",
))


def without_other_calls(text):
    """`text` without the lines of call stacks that name neither save() nor spend(), and without offsets."""
    lines = [line for line in text.splitlines(keepends=True)
             if not line.startswith("      at ") or re.match(r"      at (save|spend)\(\)\+", line)]
    return re.sub(r"(?m)^(      at \w+\(\))\+0x[0-9a-f]+$", r"\1", "".join(lines))


class LockJobs(programs.ProgramTest):
    def test_all_chapters(self):
        out, err = self.run_program(self.command("lock_jobs"))
        self.assertEqual(err, "")
        self.assertEqual(out, "".join(f"{name}: {title}\n{text}" for name, (title, text) in chapters(2).items()))

    def test_each_chapter_alone_with_other_numbers(self):
        for name, (title, text) in chapters(7).items():
            out, err = self.run_program(self.command("lock_jobs", name, rounds=7, patience_ms=1))
            self.assertEqual((out, err), (f"{name}: {title}\n{text}", ""))

    def test_the_orders_are_reported_once_and_nothing_else_is(self):
        out, err = self.run_program(self.command("lock_jobs_debug"))
        self.assertEqual(err, "")
        expected = chapters(2, debug=True)
        order = f"order: {expected['order'][0]}\n{expected['order'][1]}\n"
        before = "".join(f"{name}: {expected[name][0]}\n{expected[name][1]}"
                         for name in ("interleaved", "locked", "nested", "deadlock"))
        after = f"\ncured: {expected['cured'][0]}\n{expected['cured'][1]}"
        self.assertTrue(out.startswith(before + order), out)
        self.assertTrue(out.endswith(after), out)
        report = without_other_calls(out[len(before + order):len(out) - len(after)])
        self.assertRegex(report, rf"\A{REPORT}\Z")

    def test_wrong_use(self):
        out, _ = self.run_program(self.command("lock_jobs", "--help"))
        for name, (title, _) in chapters(1).items():
            self.assertRegex(out, rf"(?m)^  {name} +{re.escape(title)}$")
        for option in ("rounds", "patience-ms"):
            self.assertIn("--" + option, out)
        for wrong in ({"rounds": 0}, {"rounds": 1001}, {"rounds": "x"}, {"patience_ms": 0}):
            _, err = self.run_program(self.command("lock_jobs", **wrong), 2)
            self.assertIn(next(iter(wrong)).replace("_", "-"), err)
        out, err = self.run_program(self.command("lock_jobs", "sleep"), 2)
        self.assertEqual(out, "")
        self.assertIn("sleep not in", err)
        _, err = self.run_program(self.command("lock_jobs", "--color"), 2)
        self.assertIn("--color", err)


if __name__ == "__main__":
    programs.main()
