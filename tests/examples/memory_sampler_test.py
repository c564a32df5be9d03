"""memory_sampler: sees the memory that the work takes, from before it begins to after it ends, and says the same in its
table, in its file and in its picture, whether the work is long, over at once, or fails."""

import math
import os
import re
import sys
from pathlib import Path

sys.dont_write_bytecode = True
import programs  # noqa: E402
import svg  # noqa: E402

MIB = 1 << 20
FIGURES = re.compile(
    r"samples +(?P<samples>\d+)\nseconds +(?P<seconds>[\d.]+)\n"
    r"average MiB +(?P<average>[\d.]+)\npeak MiB +(?P<peak>[\d.]+)\n\Z"
)


class MemorySampler(programs.ProgramTest):
    def setUp(self):
        super().setUp()
        self.averages, self.plot = self.folder / "memory.txt", self.folder / "memory.svg"

    def sample(self, code=0, **options):
        """Runs it and returns what the work found, the figures, and stderr."""
        options = {"averages": self.averages, "plot": self.plot} | options
        out, err = self.run_program(self.command("memory_sampler", **options), code)
        figures = FIGURES.search(out)
        self.assertIsNotNone(figures, out)
        found = out[: figures.start()]
        figures = {name: float(value) for name, value in figures.groupdict().items()}
        self.check_plot(figures, options)
        return found, figures, err

    def check_plot(self, figures, options):
        """The picture shows the samples of the table, with the scales of its axes. Keeps them as self.sizes."""
        picture = svg.Picture(options["plot"])
        self.assertEqual(picture.title, options.get("name", options.get("work", "sort")))
        self.assertEqual(picture.outside(), [])
        ticks = picture.shapes("text", "tick")
        times = [(float(t.get("x")), float(t.text)) for t in ticks if t.get("text-anchor") == "middle"]
        sizes = [(float(t.get("y")) - 5, float(t.text)) for t in ticks if t.get("text-anchor") == "end"]
        for scale in (times, sizes):
            self.assertTrue(5 <= len(scale) <= 11, scale)
            self.assertEqual(scale[0][1], 0)

        def value_at(scale, pixel):
            (begin, _), (end, most) = scale[0], scale[-1]
            return (pixel - begin) / (end - begin) * most

        (line,) = picture.shapes("polyline", "samples")
        points = [tuple(map(float, point.split(","))) for point in line.get("points").split()]
        seconds = [value_at(times, x) for x, _ in points]
        self.sizes = [value_at(sizes, y) for _, y in points]
        rounding = 0.02 * sizes[-1][1] / (sizes[0][0] - sizes[-1][0]) + 0.001
        self.assertEqual(len(points), figures["samples"])
        self.assertEqual(seconds, sorted(seconds))
        self.assertGreaterEqual(seconds[0], 0)
        self.assertAlmostEqual(seconds[-1], figures["seconds"], delta=0.001 * figures["seconds"] + 1e-6)
        self.assertAlmostEqual(max(self.sizes), figures["peak"], delta=rounding)
        self.assertAlmostEqual(sum(self.sizes) / len(self.sizes), figures["average"], delta=rounding)
        (average,) = picture.shapes("line", "average")
        self.assertAlmostEqual(value_at(sizes, float(average.get("y1"))), figures["average"], delta=rounding)

    def test_the_memory_of_the_work_is_seen_and_that_it_is_gone_afterwards(self):
        code = Path(self.programs["memory_sampler"]).read_bytes()
        sanitized = b"__asan_init" in code or b"__tsan_init" in code  # these keep memory that the program has freed
        for work, megabytes in (("sort", 16), ("matrix", 6)):
            _, figures, err = self.sample(work=work, megabytes=megabytes, interval_ms=1)
            self.assertEqual(err, "")
            self.assertGreater(figures["samples"], 3)
            self.assertGreaterEqual(max(self.sizes) - self.sizes[0], 0.95 * megabytes)
            self.assertLess(self.sizes[0], figures["average"])
            self.assertLess(figures["average"], figures["peak"])
            if not sanitized:
                self.assertLess(self.sizes[-1], max(self.sizes) - 0.9 * megabytes)

    def test_what_the_work_finds_is_not_lost(self):
        found, _, _ = self.sample(megabytes=1)
        numbers, least, most = map(int, re.fullmatch(r"(\d+) numbers sorted, from (\d+) to (\d+)\n", found).groups())
        self.assertEqual(numbers, MIB / 4)
        self.assertLess(least, 2**32 / 10_000)
        self.assertGreater(most, 2**32 - 2**32 / 10_000)

        n = math.isqrt(MIB // 24)
        trace = sum((31 * i + 17 * j) % 10 * ((7 * j + 3 * i) % 10) for i in range(n) for j in range(n))
        found, _, _ = self.sample(work="matrix", megabytes=1)
        self.assertEqual(found, f"two matrices of {n} rows multiplied; the trace is {trace}\n")

        text = self.folder / "text"
        text.write_text("".join(f"line {i % 1000}\n" for i in range(50_000)) + "no end")
        found, _, _ = self.sample(work="lines", input=text)
        self.assertEqual(found, "50001 lines, 1001 different ones\n")

    def test_averages_are_appended(self):
        figures = [self.sample(megabytes=1)[1], self.sample(megabytes=2, name="two of them & <more>")[1]]
        lines = self.averages.read_text().splitlines()
        self.assertEqual([line.split(": ")[0] for line in lines], ["sort", "two of them & <more>"])
        for line, figure in zip(lines, figures, strict=True):
            self.assertAlmostEqual(int(line.split(": ")[1]) / MIB, figure["average"], delta=0.001)

    def test_work_that_is_over_at_once_is_sampled_too(self):
        for _ in range(20):
            found, figures, _ = self.sample(work="lines", input="/dev/null", interval_ms=3_600_000)
            self.assertEqual(found, "0 lines, 0 different ones\n")
            self.assertEqual(figures["samples"], 2)
            self.assertGreater(figures["average"], 0.1)
        self.assertEqual(len(self.averages.read_text().splitlines()), 20)

    def test_work_that_fails_ends_the_sampling(self):
        missing = self.folder / "nowhere"
        found, figures, err = self.sample(1, work="lines", input=missing, interval_ms=3_600_000)
        self.assertEqual((found, err), ("", f"memory_sampler: {missing}: No such file or directory\n"))
        self.assertEqual(figures["samples"], 2)
        self.assertEqual(self.averages.read_text(), "", "no average of work that was not done")
        _, _, err = self.sample(1, work="lines", input=self.folder)
        self.assertEqual(err, f"memory_sampler: {self.folder}: Is a directory\n")

    def test_files_that_cannot_be_written(self):
        missing = self.folder / "nowhere" / "file"
        for option in ("averages", "plot"):
            options = {"averages": self.averages, "plot": self.plot, "megabytes": 1}
            out, err = self.run_program(self.command("memory_sampler", **options | {option: missing}), 1)
            self.assertEqual((out, err), ("", f"memory_sampler: {missing}: No such file or directory\n"))
            out, err = self.run_program(self.command("memory_sampler", **options | {option: "/dev/full"}), 1)
            self.assertIn("numbers sorted", out)
            self.assertEqual(err, "memory_sampler: /dev/full: No space left on device\n")

        # The failure of the work is told, too.
        options = {"work": "lines", "input": missing, "averages": self.averages, "plot": "/dev/full"}
        _, err = self.run_program(self.command("memory_sampler", **options), 1)
        self.assertEqual(
            err,
            "memory_sampler: /dev/full: No space left on device\n"
            f"memory_sampler: {missing}: No such file or directory\n",
        )

    def test_no_picture_unless_asked_for(self):
        self.run_program(self.command("memory_sampler", megabytes=1), cwd=self.folder)
        self.assertEqual(os.listdir(self.folder), ["memory.txt"])

    def test_wrong_use(self):
        out, _ = self.run_program(self.command("memory_sampler", "--help"))
        for option in ("work", "megabytes", "input", "interval-ms", "name", "averages", "plot"):
            self.assertIn("--" + option, out)
        for wrong in (
            {"work": "nothing"}, {"megabytes": 0}, {"megabytes": -1}, {"megabytes": "1e3"}, {"interval_ms": 0},
            {"name": "a: 1"}, {"name": "a\nb"}, {"name": ""}, {"name": "\u00e4"}, {"color": "blue"},
        ):
            out, err = self.run_program(self.command("memory_sampler", **wrong), 2, cwd=self.folder)
            self.assertEqual(out, "")
            self.assertIn(next(iter(wrong)).replace("_", "-"), err)
        _, err = self.run_program(self.command("memory_sampler", work="lines"), 2, cwd=self.folder)
        self.assertIn("--input is required", err)
        self.assertEqual(os.listdir(self.folder), [])


if __name__ == "__main__":
    programs.main()
