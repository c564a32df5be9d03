"""bench/ratios: what it makes of the figures that the benchmarks print."""

import contextlib
import importlib.machinery
import importlib.util
import io
import sys
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
PROGRAM = Path(__file__).resolve().parents[2] / "bench" / "ratios"
loader = importlib.machinery.SourceFileLoader("ratios", str(PROGRAM))
ratios = importlib.util.module_from_spec(importlib.util.spec_from_loader("ratios", loader))
loader.exec_module(ratios)


def result(name, ns, **counters):
    """One line of a benchmark program's report. Rows of several threads count the time that passes."""
    several = name.endswith("/manual_time")
    times = {"real_time": ns, "cpu_time": -1} if several else {"real_time": -1, "cpu_time": ns}
    return {"run_type": "iteration", "run_name": name, **times, **counters}


class Collect(unittest.TestCase):
    def test_rounds_axes_and_counters(self):
        figures = ratios.collect([
            {"benchmarks": [result("BM_Lock_uncontended/conc", 4), result("BM_Lock_uncontended/conc", 6),
                            result("BM_Lock_uncontended/std", 9), result("BM_Pool_detach/tbb/workers:2/manual_time", 70)]},
            {"benchmarks": [result("BM_Pool_start_latency/conc/iterations:1/manual_time", 500, p50=400, p99=900),
                            {"run_type": "aggregate", "run_name": "BM_Lock_uncontended/conc", "cpu_time": 1000}]},
        ])
        self.assertEqual(figures, {
            "Lock_uncontended": {"conc": [4, 6], "std": [9]},
            "Pool_detach/workers:2": {"tbb": [70]},
            "Pool_start_latency": {"conc": [500]},
            "Pool_start_latency#p50": {"conc": [400]},
            "Pool_start_latency#p99": {"conc": [900]},
        })
        self.assertEqual(ratios.medians_of(figures)["Lock_uncontended"], {"conc": 5, "std": 9})

    def test_a_benchmark_that_failed_has_no_figure(self):
        wrong = result("BM_Lock_uncontended/conc", 4, error_occurred=True)
        self.assertEqual(ratios.collect([{"benchmarks": [wrong]}]), {})


class Verdict(unittest.TestCase):
    def check(self, goal, verdict, **ns):
        self.assertEqual(ratios.verdict(goal, ns), verdict)

    def test_faster_than_peers(self):
        goal = ratios.Faster(2, "std", "tbb")
        self.check(goal, "reached", conc=10, std=20, tbb=25)
        self.check(goal, "even", conc=10.4, std=20, tbb=25)
        self.check(goal, "SHORT by 25 %", conc=10, std=16, tbb=25)
        self.check(goal, "SHORT by 100 %", conc=10, tbb=10)  # a peer that is not there decides nothing
        self.check(goal, "", conc=10)

    def test_at_most(self):
        self.check(ratios.AtMost(16), "reached", conc=16)
        self.check(ratios.AtMost(16), "SHORT by 50 %", conc=24)

    def test_at_most_where_a_cache_line_takes_longer(self):
        goal = ratios.AtMost(100, line=50)
        self.check(goal, "SHORT by 50 %", conc=150, **{ratios.CACHE_LINE: 40})
        self.check(goal, "reached", conc=150, **{ratios.CACHE_LINE: 75})

    def test_absent_peers_stand_in_by_their_ratio(self):
        goal = ratios.Absent(4, "concurrencpp", 100, tbb=800, asio=400)
        # oneTBB takes twice what it took, Asio the same: the peer would take 150.
        self.check(goal, "reached", conc=37, tbb=1600, asio=400)
        self.check(goal, "SHORT by 33 %", conc=50, tbb=1600, asio=400)
        self.check(goal, "", conc=50)
        self.assertEqual(goal.text({"tbb": 1600, "asio": 400}), "4x concurrencpp (100 then, 150 now)")
        self.check(ratios.Absent(None, "libfork", 17, tbb=46), "", conc=1, tbb=46)

    def test_the_goal_that_is_missed_most_counts(self):
        goal = ratios.Both(ratios.AtMost(10), ratios.Faster(2, "std"))
        self.check(goal, "reached", conc=10, std=20)
        self.check(goal, "SHORT by 100 %", conc=10, std=10)
        self.check(goal, "SHORT by 50 %", conc=15, std=40)


class Tables(unittest.TestCase):
    def printed(self, show, figures):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            show(figures)
        return out.getvalue()

    def test_rows_with_peers_ratios_and_verdicts(self):
        out = self.printed(ratios.print_table, {
            "Lock_uncontended": {"conc": [4.0, 5.0, 6.0], "std": [10.0]},
            "RLock_uncontended": {"conc": [10.0], "std": [10.0]},
            "Queue_unbounded/pairs:1/one_core:0": {"std": [70.0]},
        })
        self.assertRegex(out, r"(?m)^Lock, uncontended +5\.0 +std 10\.0 \(2\.00x\) +1\.2x std +reached$")
        self.assertRegex(out, r"(?m)^RLock, uncontended +10\.0 +std 10\.0 \(1\.00x\) +1\.4x std +SHORT by 40 %$")
        self.assertRegex(out, r"(?m)^Queue\(\), 1 producer, 1 consumer +std 70\.0$")
        self.assertIn("1 of 2 goals fall short.", out)

    def test_differences(self):
        out = self.printed(ratios.print_also, {
            "Pool_submit_result/workers:1/one_core:0": {"conc": [30.0], "cv": [500.0]},
            "Pool_submit_result_callback/workers:1": {"conc": [42.0]},
            "Pool_footprint_idle": {"conc": [150.0]},
        })
        self.assertRegex(out, r"(?m)^submit and result, more with a callback +ns +12\.0$")
        self.assertRegex(out, r"(?m)^CPU time of two idle workers in 2 s +us +150$")

    def test_every_row_of_the_tables_is_measured(self):
        sources = "".join(path.read_text() for path in PROGRAM.parent.glob("*.cpp"))
        rows = [row for row, _, _ in ratios.ROWS] + [row.split("#")[0] for _, _, row, _ in ratios.ALSO]
        for row in rows:
            name = "BM_" + row.split("/")[0]
            if not name.startswith("BM_Pool_footprint"):
                self.assertIn(name, sources)


if __name__ == "__main__":
    unittest.main()
