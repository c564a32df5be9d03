"""draw_charts: with a lock of any kind every line is complete and where it belongs; without one none is.

The pictures are read here, and the lines in them found by their colors: the program's own count is not relied on.
"""

import math
import os
import re
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True
import png  # noqa: E402
import programs  # noqa: E402

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/draw_charts"
GUARDED = ["serial", "lock", "rlock", "synchronized", "own"]
MODES = ["serial", "unlocked", "lock", "rlock", "synchronized", "own"]
COLORS = [
    tuple(bytes.fromhex(color))
    for color in ("3b78b5", "d9822b", "2e8b57", "b5403b", "7b5fb0", "8c6d46", "d0679d", "3aa6a6")
]
ROW = re.compile(r"^(\w+) +(\d+) of (\d+) +([\d.]+)  (.*)$", re.MULTILINE)
BUILT_IN = 6


class Line:
    """Where a color is in a picture."""

    def __init__(self, pixels):
        self.rows_of = {}  # column -> rows
        for x, y in pixels:
            self.rows_of.setdefault(x, []).append(y)

    def columns(self):
        return sorted(self.rows_of)

    def is_complete(self):
        """A line goes from its left end to its right one and leaves no column out."""
        columns = self.columns()
        return len(columns) > 20 and columns == list(range(columns[0], columns[-1] + 1))

    def box(self):
        rows = [y for column in self.rows_of.values() for y in column]
        return min(self.rows_of), min(rows), max(self.rows_of), max(rows)

    def middle(self, column):
        return (min(self.rows_of[column]) + max(self.rows_of[column])) / 2


def lines_in(picture, number):
    pixels = {color: [] for color in COLORS[:number]}
    for y, row in enumerate(picture):
        for x, color in enumerate(row):
            if color in pixels:
                pixels[color].append((x, y))
    return [Line(pixels[color]) for color in COLORS[:number]]


def apart(one, other):
    left, top, right, bottom = one.box()
    left2, top2, right2, bottom2 = other.box()
    return right < left2 or right2 < left or bottom < top2 or bottom2 < top


def count_right(picture, number):
    """How many of the lines of a picture are complete, within one chart, and alone there."""
    drawn = [line for line in lines_in(picture, number) if line.rows_of]
    columns = math.ceil(math.sqrt(number))
    width, height = len(picture[0]) // columns, len(picture) // math.ceil(number / columns)

    def is_right(line):
        left, top, right, bottom = line.box()
        in_one_chart = left // width == right // width and top // height == bottom // height
        return line.is_complete() and in_one_chart and all(line is other or apart(line, other) for other in drawn)

    return sum(map(is_right, drawn))


class DrawCharts(programs.ProgramTest):
    def draw(self, *files, code=0, settings=None, **options):
        """Draws, and returns {mode: lines that the program found right}, and stderr."""
        options = {"output": self.folder, "size": "480x320"} | options
        out, err = self.run_program(self.command("draw_charts", *files, **options), code, **(settings or {}))
        rows = ROW.findall(out)
        for mode, _, _, seconds, file in rows:
            self.assertGreater(float(seconds), 0)
            self.assertEqual(file, f"{options['output']}/{mode}.png")
        return {mode: (int(right), int(of)) for mode, right, of, _, _ in rows}, err

    def picture(self, mode):
        return png.read(self.folder / f"{mode}.png")

    def write(self, text, name="data.csv"):
        path = self.folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def test_guarded_lines_are_complete_and_unguarded_ones_are_not(self):
        # With canvases of their own threads use cairo at the same time, and it hands memory from one to another. That
        # looks like a race to ThreadSanitizer, which sees cairo's calls of memcpy(), but not cairo's atomics.
        not_cairo = {"env": {**os.environ, "TSAN_OPTIONS": "ignore_noninstrumented_modules=1"}}
        found = {}
        for mode in MODES:
            found |= self.draw(mode=mode, threads=BUILT_IN, settings=not_cairo if mode == "own" else None)[0]
        self.assertEqual(found, {mode: (0 if mode == "unlocked" else BUILT_IN, BUILT_IN) for mode in MODES})

        right = self.picture("serial")
        self.assertEqual((len(right), len(right[0])), (320, 480))
        self.assertEqual(count_right(right, BUILT_IN), BUILT_IN)
        for mode in GUARDED:
            self.assertEqual(self.picture(mode), right, mode)
        self.assertEqual(count_right(self.picture("unlocked"), BUILT_IN), 0)

    def test_damage_is_the_same_every_time(self):
        pictures = set()
        for threads in (3, 3, 3, 3, 2):
            self.draw(mode="unlocked", threads=threads)
            pictures.add((threads, (self.folder / "unlocked.png").read_bytes()))
        self.assertEqual(len(pictures), 2)
        found, _ = self.draw(mode="unlocked", threads=1)
        self.assertEqual(found, {"unlocked": (BUILT_IN, BUILT_IN)})
        self.assertEqual(count_right(self.picture("unlocked"), BUILT_IN), BUILT_IN)

    def test_a_lock_is_needed_for_many_lines_and_enough(self):
        columns = 36
        rows = [["x", *(f"line {i}" for i in range(columns))]]
        rows += [[str(x), *(f"{math.sin(x / 9 + i):.6f}" for i in range(columns))] for x in range(100)]
        data = self.write("\n".join(map(",".join, rows)))
        for mode in ("lock", "rlock", "synchronized"):
            found, _ = self.draw(data, mode=mode, threads=8, size="600x600")
            self.assertEqual(found, {mode: (columns, columns)})

    def test_lines_show_the_numbers(self):
        ys = [-3, -3, 4, 11.5, 0, 2]
        rows = ["\ufeffx ; why not,first,,third", *(f"{10 * i}, {y},7 ,{-1e6 * y}" for i, y in enumerate(ys))]
        data = self.write("\r\n".join(rows))
        self.draw(data, mode="lock")
        first, constant, third = lines_in(self.picture("lock"), 3)
        for line, values in ((first, ys), (third, [-y for y in ys])):
            self.assertTrue(line.is_complete())
            left, top, right, bottom = line.box()
            for i, value in enumerate(values):
                column = left + 1 + round(i * (right - left - 2) / (len(values) - 1))
                share = (value - min(values)) / (max(values) - min(values))
                pixels = line.rows_of[column]
                away = min(abs(bottom - share * (bottom - top) - y) for y in range(min(pixels), max(pixels) + 1))
                self.assertLess(away, 6, f"point {i}")
        self.assertTrue(constant.is_complete())
        self.assertEqual(len({constant.middle(column) for column in constant.columns()}), 1)

    def test_several_files_make_one_picture(self):
        one = self.write("x,a\n0,1\n1,2\n", "one.csv")
        two = self.write("x,b,c\n5,1,0\n6,2,0\n\n7,0,1\n", "two.csv")
        found, _ = self.draw(one, two, mode="synchronized", threads=100)
        self.assertEqual(found, {"synchronized": (3, 3)})
        self.assertEqual(count_right(self.picture("synchronized"), 3), 3)

    def test_input_that_is_wrong(self):
        for text, complaint in (
            ("", "is empty"),
            ("\n \n", "is empty"),
            ("x,y\n", "a line needs two points at least"),
            ("x,y\n1,2\n", "a line needs two points at least"),
            ("x\n1\n2\n", "line 1: there must be two columns at least, with commas between them"),
            ("x,y\n1,2\n\n2\n", "line 4: 1 fields, but the first line has 2"),
            ("x,y\n1,2,3\n", "line 2: 3 fields, but the first line has 2"),
            ("x,y\n1,two\n", "line 2: 'two' is no number"),
            ("x,y\n1,2 3\n", "line 2: '2 3' is no number"),
            ("x,y\n1,\n", "line 2: '' is no number"),
            ("x,y\n1,nan\n", "line 2: 'nan' is out of range"),
            ("x,y\n1,2\n-inf,2\n", "line 3: '-inf' is out of range"),
            ("x,y\n1e999,2\n", "line 2: '1e999' is out of range"),
            ("x,y\n1,2e100\n", "line 2: '2e100' is out of range"),
            (b"x,y\n1,\x1b[2J\n", "line 2: there is no number"),
            ('x,"y"\n1,2\n', "line 1: quotes are not understood"),
            (b"x,\xff\n1,2\n", "line 1: a name is no text in UTF-8"),
            (b"x,\xc0\x80\n1,2\n", "line 1: a name is no text in UTF-8"),
            (b"x,\xe0\x80\x80\n1,2\n", "line 1: a name is no text in UTF-8"),
            (b"x,\xed\xa0\x80\n1,2\n", "line 1: a name is no text in UTF-8"),
            (b"x,\xf4\x90\x80\x80\n1,2\n", "line 1: a name is no text in UTF-8"),
            (b"x,\xe2\x82\n1,2\n", "line 1: a name is no text in UTF-8"),
            (b"x,a\0b\n1,2\n", "line 1: a name is no text in UTF-8"),
        ):
            data = self.write(text)
            found, err = self.draw(data, code=2)
            self.assertEqual((found, err), ({}, f"draw_charts: {data}: {complaint}\n"))
        self.assertEqual(os.listdir(self.folder), ["data.csv"])
        missing = self.folder / "nowhere.csv"
        _, err = self.draw(missing, code=2)
        self.assertEqual(err, f"draw_charts: {missing}: No such file or directory\n")
        _, err = self.draw(self.folder, code=2)
        self.assertEqual(err, f"draw_charts: {self.folder}: Is a directory\n")

    def test_input_that_is_odd_but_right(self):
        for text in (
            "x,\u00e4\u20ac\U0001f600\n1,2\n2,2\n",
            "x,y\n5,1\n5,1\n",
            "x,y\n-1e100,1e100\n1e100,-1e100\n",
            "x,y\n1e-300,0\n2e-300,-0\n",
            "x,y\n1000000,1000000.25\n1000001,1000000.5\n",
            "x," + "long" * 1000 + "\n3,1\n1,2\n2,3\n",
        ):
            found, err = self.draw(self.write(text), mode="lock")
            self.assertEqual((found, err), ({"lock": (1, 1)}, ""))
            self.assertEqual(count_right(self.picture("lock"), 1), 0 if "5,1\n5" in text else 1, text)

    def test_pictures_that_are_too_small(self):
        _, err = self.draw(size="299x300", code=2)
        self.assertEqual(err, "draw_charts: the picture is too small: 6 charts need 300x200 pixels\n")
        found, _ = self.draw(size="300x200", mode="lock")
        self.assertEqual(found, {"lock": (BUILT_IN, BUILT_IN)})

    def test_output_that_cannot_be_written(self):
        folder = self.folder / "made" / "if need be"
        found, _ = self.draw(output=folder, mode="lock")
        self.assertEqual(found, {"lock": (BUILT_IN, BUILT_IN)})
        self.assertEqual(os.listdir(folder), ["lock.png"])

        (folder / "rlock.png").symlink_to("/dev/full")
        found, err = self.draw(output=folder, mode="rlock", code=1)
        self.assertEqual((found, err), ({}, f"draw_charts: {folder}/rlock.png: No space left on device\n"))
        file = self.write("")
        _, err = self.draw(output=file / "below", code=1)
        self.assertRegex(err, r"^draw_charts: .*: Not a directory .*data.csv")
        with open("/dev/full", "wb") as full:
            command = self.command("draw_charts", output=folder, mode="lock")
            process = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=self.seconds, check=False)
        self.assertEqual((process.returncode, process.stderr), (1, b"draw_charts: the output cannot be written\n"))

    def test_pictures_of_the_readme_are_what_it_says(self):
        readme = (EXAMPLE / "README.md").read_text()
        for mode, right in (("unlocked", 0), ("lock", BUILT_IN)):
            self.assertIn(f"]({mode}.png)", readme)
            self.assertEqual(count_right(png.read(EXAMPLE / f"{mode}.png"), BUILT_IN), right)

    def test_wrong_use(self):
        out, _ = self.run_program(self.command("draw_charts", "--help"))
        for word in ("--output", "--mode", "--threads", "--size", *MODES):
            self.assertIn(word, out)
        for wrong in (
            {"mode": "locked"}, {"threads": 0}, {"threads": 101}, {"size": "99x100"}, {"size": "10001x100"},
            {"size": "480"}, {"size": "480x"}, {"size": "x480"}, {"size": "480x320x"}, {"size": "480 x 320"},
            {"size": "-480x320"}, {"size": "99999999999x320"}, {"color": "blue"},
        ):
            out, err = self.run_program(self.command("draw_charts", **wrong), 2)
            self.assertEqual(out, "")
            self.assertIn(next(iter(wrong)), err)


if __name__ == "__main__":
    programs.main()
