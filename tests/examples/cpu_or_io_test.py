"""cpu_or_io: the table holds what was measured, the chart shows the table, the countdown is not left out."""

import os
import re
import sys

sys.dont_write_bytecode = True
import programs  # noqa: E402
import svg  # noqa: E402

ROWS = [(task, way) for task in ("count", "wait") for way in ("serial", "threads", "pool", "processes")]
ROW = re.compile(r"^(\w+) +(\w+) +([\d.]+) +([\d.]+) \.\. ([\d.]+) +([\d.]+)$", re.MULTILINE)


class CpuOrIo(programs.ProgramTest):
    def measure(self, *arguments, **options):
        """Runs it and returns {(task, way): (median, least, most, speed-up)} and the first line."""
        small = {"count": 10_000, "wait_ms": 2, "number": 3, "repeats": 3}
        out, err = self.run_program(self.command("cpu_or_io", *arguments, **small | options))
        self.assertEqual(err, "")
        rows = ROW.findall(out)
        self.assertEqual([row[:2] for row in rows], ROWS)
        return {row[:2]: tuple(map(float, row[2:])) for row in rows}, out.splitlines()[0]

    def test_table(self):
        for repeats in (3, 4):
            rows, head = self.measure(count=1_234_567, number=7, repeats=repeats)
            self.assertRegex(head, rf"^7 times counting down from 1,234,567, and waiting 2 ms; {repeats} repeats; \d+ ")
            for (task, way), (median, least, most, speed_up) in rows.items():
                self.assertLessEqual(least, median)
                self.assertLessEqual(median, most)
                serial = rows[task, "serial"][0]
                if min(serial, median) > 0.001:  # or too many digits are missing
                    self.assertAlmostEqual(speed_up, serial / median, delta=0.01 + 0.01 * speed_up)
                if way == "serial":
                    self.assertEqual(speed_up, 1)

    def test_waiting_takes_its_time_and_waiting_together_takes_it_once(self):
        rows, _ = self.measure(number=10, wait_ms=100)
        serial = rows["wait", "serial"][1]
        self.assertGreaterEqual(serial, 1.0)
        for way in ("threads", "pool", "processes"):
            _, least, _, _ = rows["wait", way]
            self.assertGreaterEqual(least, 0.1)
            self.assertLess(least, serial, "the quickest of three attempts at a tenth of the time")

    def test_every_count_is_counted(self):
        rows, _ = self.measure(count=100_000_000, number=1)
        for (task, way), (_, least, _, _) in rows.items():
            if task == "count":
                self.assertGreater(least, 0.005, "no CPU counts to twenty in a nanosecond")

    def test_chart_shows_the_table(self):
        for options in ({}, {"wait_ms": 37}, {"count": 3_000_000, "number": 1, "repeats": 4}):
            self.check_chart(options)

    def check_chart(self, options):
        file = self.folder / "chart.svg"
        rows, head = self.measure(svg=file, **options)
        picture = svg.Picture(file)
        texts, shapes = picture.texts, picture.shapes
        self.assertTrue(picture.title)
        self.assertEqual(picture.outside(), [])
        titles = re.match(r"(\d+ times )(.*), and (waiting .*?);", head).groups()
        self.assertEqual(texts("panel"), [titles[0] + titles[1], titles[0] + titles[2]])
        self.assertEqual(texts("label"), [way for _, way in ROWS])
        self.assertEqual(texts("unit"), ["seconds"] * 2)
        for figure, (median, _, _, speed_up) in zip(texts("figure"), rows.values(), strict=True):
            time, times = re.fullmatch(r"([\d.e-]+) s, ×([\d.]+)", figure).groups()
            self.assertAlmostEqual(float(time), median, delta=0.006 * median + 1e-6)
            self.assertAlmostEqual(float(times), speed_up, places=2)

        # An axis for each task: ticks at even distances, from 0 to beyond every time.
        bars, spreads = shapes("rect", "bar"), shapes("line", "spread")
        axes = shapes("line", "axis")
        self.assertEqual((len(bars), len(spreads), len(shapes("line", "end")), len(axes)), (8, 8, 16, 2))
        ticks = shapes("text", "tick")
        for task, axis in enumerate(axes):
            y = float(axis.get("y1"))
            scale = [(float(t.get("x")), float(t.text)) for t in ticks if 0 < float(t.get("y")) - y < 20]
            (left, zero), (right, last) = scale[0], scale[-1]
            self.assertEqual((left, zero, right), (float(axis.get("x1")), 0, float(axis.get("x2"))))
            self.assertTrue(5 <= len(scale) <= 13, scale)
            second = (right - left) / last
            for x, time in scale:
                self.assertAlmostEqual(x, left + time * second, delta=0.02)

            # A bar as long as the median and a line from the least to the most, one below the other.
            for i in range(4 * task, 4 * task + 4):
                median, least, most, _ = rows[ROWS[i]]
                bar, spread = bars[i], spreads[i]
                rounding = 1e-6 * second + 0.02
                self.assertEqual(float(bar.get("x")), left)
                self.assertAlmostEqual(float(bar.get("width")), median * second, delta=rounding)
                self.assertAlmostEqual(float(spread.get("x1")), left + least * second, delta=rounding)
                self.assertAlmostEqual(float(spread.get("x2")), left + most * second, delta=rounding)
                self.assertLessEqual(float(spread.get("x2")), right + 0.01)
                self.assertLess(float(bar.get("y")) + float(bar.get("height")), y)
        tops = [float(bar.get("y")) for bar in bars]
        self.assertEqual(tops, sorted(set(tops)))

    def test_chart_that_cannot_be_written(self):
        missing = self.folder / "nowhere" / "chart.svg"
        out, err = self.run_program(self.command("cpu_or_io", svg=missing), 1)
        self.assertEqual((out, err), ("", f"cpu_or_io: {missing}: No such file or directory\n"))
        command = self.command("cpu_or_io", count=1000, wait_ms=1, repeats=3, svg="/dev/full")
        _, err = self.run_program(command, 1)
        self.assertEqual(err, "cpu_or_io: /dev/full: No space left on device\n")

    def test_no_chart_unless_asked_for(self):
        command = self.command("cpu_or_io", count=1000, wait_ms=1, repeats=3)
        self.run_program(command, cwd=self.folder)
        self.assertEqual(os.listdir(self.folder), [])

    def test_wrong_use(self):
        out, _ = self.run_program(self.command("cpu_or_io", "--help"))
        for option in ("count", "wait-ms", "number", "repeats", "svg"):
            self.assertIn("--" + option, out)
        self.assertRegex(out, r"--count .*=25000000\n")  # the classic experiment: four times from 25,000,000
        self.assertRegex(out, r"--number .*=4\n")
        for wrong in (
            {"count": 999}, {"count": "many"}, {"wait_ms": 0}, {"number": 0}, {"number": 1001}, {"repeats": 2},
            {"color": "blue"},
        ):
            out, err = self.run_program(self.command("cpu_or_io", **wrong), 2)
            self.assertEqual(out, "")
            self.assertIn(next(iter(wrong)).replace("_", "-"), err)


if __name__ == "__main__":
    programs.main()
