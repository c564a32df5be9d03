"""lock_overhead: prints a row for every kind of work and counter, finds every counter exact, refuses wrong use."""

import re
import sys

sys.dont_write_bytecode = True
import programs  # noqa: E402

WORK = ("IO_BUSY", "CPU_BUSY", "NOTHING")
COUNTERS = ("no counter", "AtomicInteger", "Lock", "RLock")
ROW = re.compile(r"^(\w+) +(no counter|\w+) +([\d.]+) +([\d.]+) \.\. ([\d.]+) +(-|[\d.]+)$", re.MULTILINE)


class LockOverhead(programs.ProgramTest):
    def test_table(self):
        for repetitions in (3, 4):
            out, err = self.run_program(
                self.command(
                    "lock_overhead", threads=7, rounds=3, repetitions=repetitions, sleep_us=2000, multiplications=1000,
                    rounds_of_nothing=1000,
                )
            )
            self.assertEqual(err, "")
            self.assertIn("7 threads", out)
            self.assertTrue(out.endswith("\nEvery counter was exact.\n"))
            rows = ROW.findall(out)
            self.assertEqual([row[:2] for row in rows], [(w, c) for w in WORK for c in COUNTERS])
            for work, counter, median, least, most, cost in rows:
                self.assertLessEqual(float(least), float(median))
                self.assertLessEqual(float(median), float(most))
                if work == "IO_BUSY":
                    self.assertGreaterEqual(float(least), 3 * 0.002, "three sleeps take at least that")
                if counter == "no counter":
                    self.assertEqual(cost, "-")

    def test_counters_that_all_threads_hammer_are_exact(self):
        command = self.command(
            "lock_overhead", rounds=1, repetitions=3, sleep_us=0, multiplications=0, rounds_of_nothing=20_000
        )
        out, _ = self.run_program(command)
        self.assertIn("Every counter was exact.", out)

    def test_wrong_use(self):
        out, _ = self.run_program(self.command("lock_overhead", "--help"))
        for option in ("full", "threads", "rounds", "repetitions", "sleep-us", "multiplications"):
            self.assertIn("--" + option, out)
        for wrong in ({"threads": 0}, {"rounds": -1}, {"repetitions": 2}, {"sleep_us": -1}, {"color": "blue"}):
            _, err = self.run_program(self.command("lock_overhead", **wrong), 2)
            self.assertIn(next(iter(wrong)).replace("_", "-"), err)
        self.run_program(self.command("lock_overhead", "--full", sleep_us=1), 2)


if __name__ == "__main__":
    programs.main()
