"""image_pipeline: pictures come out right for any number of workers, queues hold back who is too fast, and everything
that is wrong is said and survived.

Sources that are named pipes show when a picture is read; an output that is one holds the writer back.
"""

import contextlib
import errno
import math
import os
import random
import re
import resource
import signal
import subprocess
import sys
import zlib
from pathlib import Path

sys.dont_write_bytecode = True
import png  # noqa: E402
import programs  # noqa: E402
import svg  # noqa: E402

STAGES = ["read", "transform", "write"]
ROW = re.compile(r"^(\w+) +(\d+) +(\d+) +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+)$", re.MULTILINE)


def noise(width, height, seed=1):
    """A picture of chance, some of it transparent."""
    chance = random.Random(seed)
    return [[(*chance.randbytes(3), chance.choice((0, 1, 128, 255))) for _ in range(width)] for _ in range(height)]


# What the program does, written once more in the plainest way.


def each_pixel(change):
    return lambda rows: [[change(*pixel) for pixel in row] for row in rows]


def brightness(red, green, blue, _):
    return (299 * red + 587 * green + 114 * blue + 500) // 1000


grayscale = each_pixel(lambda *pixel: (*[brightness(*pixel)] * 3, pixel[3]))
invert = each_pixel(lambda red, green, blue, alpha: (255 - red, 255 - green, 255 - blue, alpha))


def mean(pixels):
    """Colours count as much as they are opaque; halves are rounded up."""
    total = sum(pixel[3] for pixel in pixels)
    if total == 0:
        return (0, 0, 0, 0)
    colors = [sum(pixel[i] * pixel[3] for pixel in pixels) for i in range(3)]
    return (*[(color + total // 2) // total for color in colors], (total + len(pixels) // 2) // len(pixels))


def turned(rows):
    return [list(column) for column in zip(*rows)]


def blur(radius):
    def blur_rows(rows):
        return [[mean(row[max(0, x - radius) : x + radius + 1]) for x in range(len(row))] for row in rows]

    return lambda rows: turned(blur_rows(turned(blur_rows(rows))))


def thumbnail(size):
    def shrink(rows):
        width, height = len(rows[0]), len(rows)
        longest = max(width, height)
        if longest <= size:
            return rows
        new_width, new_height = max(1, width * size // longest), max(1, height * size // longest)

        def pixels(x, y):
            lines = rows[y * height // new_height : (y + 1) * height // new_height]
            return [p for line in lines for p in line[x * width // new_width : (x + 1) * width // new_width]]

        return [[mean(pixels(x, y)) for x in range(new_width)] for y in range(new_height)]

    return shrink


def edges(rows):
    width, height = len(rows[0]), len(rows)
    light = [[brightness(*pixel) for pixel in row] for row in rows]

    def near(x, y):
        return light[min(max(y, 0), height - 1)][min(max(x, 0), width - 1)]

    def edge(x, y):
        weights = [(i, 2 - abs(i)) for i in (-1, 0, 1)]
        across = sum(w * (near(x + 1, y + i) - near(x - 1, y + i)) for i, w in weights)
        down = sum(w * (near(x + i, y + 1) - near(x + i, y - 1)) for i, w in weights)
        return min(255, math.floor(math.hypot(across, down) + 0.5))

    return [[(*[edge(x, y)] * 3, rows[y][x][3]) for x in range(width)] for y in range(height)]


class ImagePipeline(programs.ProgramTest):
    def setUp(self):
        super().setUp()
        self.source, self.output = self.folder / "source", self.folder / "output"
        self.source.mkdir()

    def write(self, name, content):
        """A file in the source folder: rows of pixels, or the very bytes."""
        (self.source / name).write_bytes(content if isinstance(content, bytes) else png.encode(content))

    def pipeline_command(self, *arguments, **options):
        settings = {"source": self.source, "output": self.output, "transform": "invert"}
        return self.command("image_pipeline", *arguments, **settings | options)

    def parse(self, out):
        """(pictures done, pictures, {stage: (workers, items, busy, waited for items, waited for room)}, bottleneck)"""
        done, count = re.match(r"(\d+) of (\d+) pictures in \d+\.\d{3} seconds\n", out).groups()
        rows = ROW.findall(out)
        self.assertEqual([row[0] for row in rows], STAGES)
        stages = {name: (int(workers), int(items), *map(float, rest)) for name, workers, items, *rest in rows}
        for *_, busy, for_items, for_room, share in stages.values():
            total = busy + for_items + for_room
            if total > 0.1:  # or too many digits are missing
                self.assertAlmostEqual(share, 100 * busy / total, delta=1)
        shares = {name: stage[-1] for name, stage in stages.items()}
        bottleneck = re.search(r"^bottleneck: (\w+)$", out, re.MULTILINE).group(1)
        self.assertEqual(shares[bottleneck], max(shares.values()))
        return int(done), int(count), {name: stage[:-1] for name, stage in stages.items()}, bottleneck

    def transform(self, *arguments, code=0, settings=None, **options):
        """Runs it, and returns what it printed, parsed, and the lines of stderr."""
        out, err = self.run_program(self.pipeline_command(*arguments, **options), code, **(settings or {}))
        return self.parse(out), err.splitlines()

    def assert_written(self, pictures):
        """Nothing but these is in the output folder."""
        self.assertEqual(sorted(os.listdir(self.output)), sorted(pictures))
        for name, rows in pictures.items():
            self.assertEqual(png.read(self.output / name), rows, name)

    def start(self, *arguments, **options):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(self.pipeline_command(*arguments, **options), **pipes)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def thread_status(self, process, name, *fields):
        """What the system says about the thread of that name, as soon as there is one."""
        def status():
            if process.poll() is not None:
                self.fail(process.communicate())
            for file in Path(f"/proc/{process.pid}/task").glob("*/status"):
                with contextlib.suppress(OSError):  # threads end
                    values = dict(line.split(":\t", 1) for line in file.read_text().splitlines())
                    if values["Name"] == name:
                        return values
            return None

        values = self.eventually(status)
        return [values[field] for field in fields]

    def wait_until_full(self, process, workers=1):
        """Until all sleep: the writer in what holds it back, the others since there is no room. As long as they have
        something to do they do not.
        """
        names = ["write-0", *(f"{stage}-{i}" for stage in ("read", "transform") for i in range(workers))]
        self.eventually(lambda: all(self.thread_status(process, name, "State") == ["S (sleeping)"] for name in names))

    def finish(self, process, code=0):
        out, err = process.communicate(timeout=programs.SECONDS)
        self.assertEqual(process.returncode, code, (out, err))
        return self.parse(out), err.splitlines()

    def make_pipes(self, count):
        names = [f"{i:03}.png" for i in range(count)]
        for name in names:
            os.mkfifo(self.source / name)
        return names

    def hold_back_writer(self, name):
        """The writer that comes to this picture stands still until the path that is returned is read."""
        self.output.mkdir(exist_ok=True)
        partial = self.output / f".{name}.partial"
        os.mkfifo(partial)
        return partial


class Pictures(ImagePipeline):
    SIZES = ((31, 17), (1, 1), (1, 20), (20, 1))

    def check(self, transform, change):
        pictures = {f"{width} x {height}.png": noise(width, height) for width, height in self.SIZES}
        for name, rows in pictures.items():
            self.write(name, rows)
        self.output = self.folder / f"output {transform}"
        self.transform(transform=transform)
        self.assert_written({name: change(rows) for name, rows in pictures.items()})

    def test_every_transform(self):
        self.check("grayscale", grayscale)
        self.check("invert", invert)
        self.check("edges", edges)
        for radius in (1, 3, 19, 10_000):
            self.check(f"blur:{radius}", blur(radius))
        for size in (1, 2, 7, 30, 31, 10_000):
            self.check(f"thumbnail:{size}", thumbnail(size))

    def test_in_the_order_that_is_given(self):
        self.check("blur:2,edges,thumbnail:9", lambda rows: thumbnail(9)(edges(blur(2)(rows))))
        self.check("thumbnail:9,edges,blur:2,invert", lambda rows: invert(blur(2)(edges(thumbnail(9)(rows)))))

    def test_every_kind_of_png(self):
        rows = noise(13, 11)
        opaque = [[(*pixel[:3], 255) for pixel in row] for row in rows]
        colors = noise(4, 1)[0]
        palette = png.chunk(b"PLTE", b"".join(bytes(color[:3]) for color in colors))
        transparency = png.chunk(b"tRNS", bytes(color[3] for color in colors))
        numbers = [[(red % 4,) for red, *_ in row] for row in rows]
        kinds = {
            "rgb": (png.encode([[pixel[:3] for pixel in row] for row in rows], png.RGB), opaque),
            "rgba": (png.encode(rows), rows),
            "interlaced": (png.encode(rows, interlaced=True), rows),
            "16 bits": (png.encode([[[257 * v for v in pixel] for pixel in row] for row in rows], depth=16), rows),
            "gray": (
                png.encode([[pixel[:1] for pixel in row] for row in rows], png.GRAY),
                [[(*[pixel[0]] * 3, 255) for pixel in row] for row in rows],
            ),
            "gray and alpha": (
                png.encode([[(pixel[0], pixel[3]) for pixel in row] for row in rows], png.GRAY_ALPHA),
                [[(*[pixel[0]] * 3, pixel[3]) for pixel in row] for row in rows],
            ),
            "black and white": (
                png.encode([[(pixel[0] % 2,) for pixel in row] for row in rows], png.GRAY, depth=1),
                [[(*[pixel[0] % 2 * 255] * 3, 255) for pixel in row] for row in rows],
            ),
            "palette": (
                png.encode(numbers, png.PALETTE, depth=2, more=palette),
                [[(*colors[i][:3], 255) for (i,) in row] for row in numbers],
            ),
            "palette and alpha": (
                png.encode(numbers, png.PALETTE, more=palette + transparency),
                [[colors[i] for (i,) in row] for row in numbers],
            ),
        }
        for name, (content, _) in kinds.items():
            self.write(name + ".png", content)
        self.transform()
        self.assert_written({name + ".png": invert(wanted) for name, (_, wanted) in kinds.items()})

    def test_any_number_of_workers(self):
        make = self.command("make_pictures", output=self.source, number=40, width=60, height=40)
        self.run_program(make)
        expected = None
        for workers in ({"readers": 1, "transformers": 1, "writers": 1, "depth": 1}, {}, {"readers": 7, "depth": 2},
                        {"transformers": 9, "writers": 20, "depth": 1}, {"writers": 3, "depth": 10_000}):
            self.output = self.folder / f"output {workers}"
            (done, count, stages, _), err = self.transform(transform="blur:2,thumbnail:30,invert", **workers)
            self.assertEqual((done, count, err), (40, 40, []))
            expected = expected or programs.tree(self.output)
            self.assertEqual(programs.tree(self.output), expected)
            cpus = len(os.sched_getaffinity(0))
            for stage, option in zip(STAGES, ("readers", "transformers", "writers")):
                self.assertEqual(stages[stage][1], 40)
                wanted = workers.get(option)
                if wanted:
                    self.assertEqual(stages[stage][0], wanted)
                else:
                    self.assertTrue(1 <= stages[stage][0] <= cpus, "as many as there are usable CPUs")
        change = [blur(2), thumbnail(30), invert]
        rows = png.read(self.source / "picture-0039.png")
        for step in change:
            rows = step(rows)
        self.assertEqual(png.read(self.output / "picture-0039.png"), rows)

    def test_names_that_do_not_count(self):
        rows = noise(3, 3)
        for name in ("a.png", "b b.png", ".hidden.png", "notes.txt", "picture.jpeg"):
            self.write(name, rows)
        (self.source / "folder.png").mkdir()
        (done, count, *_), _ = self.transform()
        self.assertEqual((done, count), (2, 2))
        self.assert_written({"a.png": invert(rows), "b b.png": invert(rows)})

    def test_other_files_in_the_output_folder_stay(self):
        rows = noise(3, 3)
        self.write("a.png", rows)
        self.output.mkdir()
        (self.output / "b.png").write_text("mine")
        (self.output / ".a.png.partial").write_text("left by a run that was killed")
        self.transform()
        self.assertEqual((self.output / "b.png").read_text(), "mine")
        (self.output / "b.png").unlink()
        self.assert_written({"a.png": invert(rows)})


class Failures(ImagePipeline):
    """Some pictures are bad, their neighbours are good."""

    def check(self, bad, settings=None, **options):
        """`bad`: {name: what is said of it}. Returns the rows of the good ones."""
        good = {name: noise(5, 5) for name in ("a.png", "z.png")}
        for name, rows in good.items():
            self.write(name, rows)
        (done, count, stages, _), err = self.transform(code=1, settings=settings, **options)
        self.assertEqual(err, [f"image_pipeline: {name}: {text}" for name, text in sorted(bad.items())])
        self.assertEqual((done, count), (2, 2 + len(bad)))
        for name, rows in good.items():
            self.assertEqual(png.read(self.output / name), invert(rows))
        return stages

    def test_damaged_files(self):
        whole = png.encode(noise(40, 40))
        start = png.SIGNATURE + png.header(5, 5)
        end = png.chunk(b"IEND", b"")
        flipped = bytearray(whole)
        flipped[-13] ^= 1  # the last byte before the chunk IEND
        bad = {
            "empty": (b"", "the file ends too early"),
            "short": (whole[:20], "the file ends too early"),
            "cut off": (whole[: len(whole) // 2], "the file ends too early"),
            "flipped": (bytes(flipped), "IDAT: CRC error"),
            "text": (b"This is no picture at all, but it is long enough for one.\n", "Not a PNG file"),
            "few data": (start + png.chunk(b"IDAT", zlib.compress(b"\0" * 21)) + end, "Not enough image data"),
        }
        for name, (content, _) in bad.items():
            self.write(name + ".png", content)
        (self.source / "gone.png").symlink_to("nowhere")
        said = {name + ".png": "read: " + text for name, (_, text) in bad.items()}
        self.check(said | {"gone.png": "read: No such file or directory"})
        self.assertEqual(sorted(os.listdir(self.output)), ["a.png", "z.png"])

    def test_huge_pictures_take_no_memory(self):
        # Two million pixels in each direction are more than libpng itself reads.
        rest = png.chunk(b"IDAT", zlib.compress(b"")) + png.chunk(b"IEND", b"")
        for name, side in (("huge", 900_000), ("larger", 30_000), ("monstrous", 2_000_000)):
            self.write(name + ".png", png.SIGNATURE + png.header(side, side) + rest)
        self.write("large.png", noise(26, 1))
        self.check(
            {
                "huge.png": "read: 900000 x 900000 pixels are more than 25",
                "larger.png": "read: 30000 x 30000 pixels are more than 25",
                "large.png": "read: 26 x 1 pixels are more than 25",
                "monstrous.png": "read: Invalid IHDR data",
            },
            max_pixels=25,
        )

    def test_unreadable_file(self):
        settings = self.as_ordinary_user()
        self.write("b.png", noise(3, 3))
        (self.source / "b.png").chmod(0)
        self.check({"b.png": "read: Permission denied"}, settings)

    def test_output_that_exists_is_not_read_and_not_overwritten(self):
        self.write("b.png", noise(3, 3))
        self.output.mkdir()
        (self.output / "b.png").write_text("mine")
        stages = self.check({"b.png": "read: the output file exists"})
        self.assertEqual((self.output / "b.png").read_text(), "mine")
        self.assertEqual([stages[s][1] for s in STAGES], [3, 2, 2])

    def test_output_that_appears_meanwhile_is_not_overwritten(self):
        (name,) = self.make_pipes(1)
        process = self.start()
        with open(self.source / name, "wb") as pipe:
            (self.output / name).write_text("mine")
            pipe.write(png.encode(noise(3, 3)))
        (done, count, *_), err = self.finish(process, 1)
        self.assertEqual((done, count, err), (0, 1, [f"image_pipeline: {name}: write: the output file exists"]))
        self.assertEqual((self.output / name).read_text(), "mine")

    def test_full_disk(self):
        self.write("b.png", noise(3, 3))
        self.output.mkdir()
        (self.output / ".b.png.partial").symlink_to("/dev/full")
        self.check({"b.png": "write: No space left on device"})
        self.assertEqual(sorted(os.listdir(self.output)), ["a.png", "z.png"])

    def test_output_folder_that_cannot_be_written(self):
        settings = self.as_ordinary_user()
        self.write("b.png", noise(3, 3))
        self.output.mkdir()
        self.output.chmod(0o555)
        (done, count, *_), err = self.transform(code=1, settings=settings)
        self.assertEqual((done, count, err), (0, 1, ["image_pipeline: b.png: write: Permission denied"]))

    def test_names_cannot_command_the_terminal(self):
        self.write("b\x1b[2J\n.png", b"")
        self.check({"b?[2J?.png": "read: the file ends too early"})

    def test_fail_fast(self):
        names = self.make_pipes(4)  # a program that read these would hang
        self.write("!.png", b"bad")
        (done, count, stages, _), err = self.transform("--fail-fast", code=1, readers=1)
        self.assertEqual((done, count), (0, 1 + len(names)))
        said = ["!.png: read: the file ends too early", "stopped: 4 pictures were not done"]
        self.assertEqual(err, ["image_pipeline: " + text for text in said])
        self.assertEqual([stages[s][1] for s in STAGES], [1, 0, 0])

    def test_fail_fast_while_all_wait_for_room(self):
        names = [f"{i:02}.png" for i in range(30)]
        for name in names:
            self.write(name, noise(9, 9))
        held_back = [self.hold_back_writer(name) for name in names]
        process = self.start("--fail-fast", readers=3, transformers=3, writers=1, depth=2)
        self.wait_until_full(process, 3)
        for name in names:
            (self.output / name).write_text("")  # so all fail but the one that is written already
        for pipe in held_back:
            self.addCleanup(os.close, os.open(pipe, os.O_RDONLY | os.O_NONBLOCK))
        (done, count, *_), err = self.finish(process, 1)
        for line in err[:-1]:
            self.assertRegex(line, r"^image_pipeline: \d\d.png: (read|write): the output file exists$")
        failed = len(err) - 1
        self.assertTrue(1 <= failed < 10, "those that are in work at that moment")
        self.assertEqual(err[-1], f"image_pipeline: stopped: {29 - failed} pictures were not done")
        self.assertEqual((done, count), (1, 30))

    def test_threads_that_the_system_does_not_give(self):
        settings = self.as_ordinary_user()
        if not settings:
            self.skipTest("only root can become a user who has no threads yet")
        self.write("a.png", noise(3, 3))
        settings["preexec_fn"] = lambda: resource.setrlimit(resource.RLIMIT_NPROC, (12, 12))
        workers = {"readers": 2, "transformers": 2, "writers": 2}
        for stage in workers:
            command = self.pipeline_command(**workers | {stage: 20})
            out, err = self.run_program(command, 1, **settings)
            self.assertEqual(out, "")
            self.assertRegex(err, r"^image_pipeline: .*Resource temporarily unavailable\n$")


class BackPressure(ImagePipeline):
    """One worker a stage; the writer is held back at the first picture."""

    ONE = {"readers": 1, "transformers": 1, "writers": 1}

    def nobody_reads(self, name):
        """Whether the pipe of that name has not been opened for reading."""
        try:
            os.close(os.open(self.source / name, os.O_WRONLY | os.O_NONBLOCK))
        except OSError as error:
            self.assertEqual(error.errno, errno.ENXIO)
            return True
        return False

    def wait_for_looks(self, process, count):
        """Until the sampler has looked so many times more."""

        def looks():
            return int(*self.thread_status(process, "sampler", "voluntary_ctxt_switches"))

        last = looks() + count
        self.eventually(lambda: looks() >= last)

    def test_nobody_runs_ahead_of_a_slow_stage(self):
        self.check(depth=1, looks=5)

    def test_chart_of_a_long_run(self):
        # Of 512 looks every second is forgotten.
        self.assertLess(self.check(depth=3, looks=600), 450)

    def check(self, depth, looks):
        """Returns how many points the larger curve has."""
        # One picture is with each worker, and `depth` in each queue.
        before = 3 + 2 * depth
        names = self.make_pipes(before + 5)
        pictures = {name: noise(4, 4, seed) for seed, name in enumerate(names)}
        held_back = self.hold_back_writer(names[0])
        chart = self.folder / "chart.svg"
        process = self.start(depth=depth, plot=chart, **self.ONE)
        for name in names[:before]:
            (self.source / name).write_bytes(png.encode(pictures[name]))
        self.wait_until_full(process)
        self.wait_for_looks(process, looks)
        self.assertTrue(self.nobody_reads(names[before]), "queues are full")

        first = held_back.read_bytes()
        for name in names[before:]:
            (self.source / name).write_bytes(png.encode(pictures[name]))
        (done, count, stages, bottleneck), err = self.finish(process)
        self.assertEqual((done, count, err, bottleneck), (len(names), len(names), [], "write"))
        for stage, (workers, items, _, for_items, for_room) in stages.items():
            self.assertEqual((workers, items), (1, len(names)))
            self.assertEqual(for_room > 0.005, stage != "write", "five looks take ten milliseconds")
        self.assertEqual(png.decode(first), invert(pictures[names[0]]))
        (self.output / names[0]).unlink()  # it is the pipe
        self.assert_written({name: invert(pictures[name]) for name in names[1:]})
        curves = self.depths(chart, depth)
        for depths in curves:
            self.assertEqual(max(depths), depth, "the queue was seen full")
            self.assertEqual(depths[-1], 0, "and empty in the end")
        return max(map(len, curves))

    def depths(self, chart, bound):
        """The depths of both queues, as they are drawn; the chart is what it should be."""
        picture = svg.Picture(chart)
        self.assertTrue(picture.title)
        self.assertEqual(picture.outside(), [])
        self.assertEqual(picture.texts("panel"), ["to be transformed", "to be written"])
        self.assertEqual(picture.texts("unit"), ["seconds"] * 2)

        def place(shape, *names):
            return [float(shape.get(name)) for name in names]

        curves, bounds = picture.shapes("polyline", "depth"), picture.shapes("line", "bound")
        axes = picture.shapes("line", "axis")
        found = []
        for curve, bound_line, axis in zip(curves, bounds, axes, strict=True):
            (left, right, bottom), (top,) = place(axis, "x1", "x2", "y1"), place(bound_line, "y1")
            self.assertEqual(place(bound_line, "x1", "x2", "y2"), [left, right, top])
            self.assertLess(top, bottom)
            step = (bottom - top) / bound
            ticks = [t for t in picture.shapes("text", "item") if top - 5 < place(t, "y")[0] - 4 < bottom + 5]
            self.assertGreaterEqual(len(ticks), min(bound, 4) + 1 if bound < 8 else 4)
            for tick in ticks:
                self.assertAlmostEqual(place(tick, "y")[0] - 4, bottom - int(tick.text) * step, delta=0.02)
            points = [tuple(map(float, point.split(","))) for point in curve.get("points").split()]
            times = [x for x, _ in points]
            self.assertEqual(times, sorted(times))
            self.assertEqual(times[0], left)
            self.assertAlmostEqual(times[-1], right, delta=0.02)
            seconds = [t for t in picture.shapes("text", "second") if 0 < place(t, "y")[0] - bottom < 30]
            self.assertGreaterEqual(len(seconds), 5)
            scale = [(float(t.text), place(t, "x")[0]) for t in seconds]
            self.assertEqual(scale[0], (0, left))
            for second, x in scale:
                self.assertAlmostEqual(x, left + (scale[-1][1] - left) * second / scale[-1][0], delta=0.02)
            for (x1, y1), (x2, y2) in zip(points, points[1:]):
                self.assertTrue(x1 == x2 or y1 == y2, "steps")
            depths = [(bottom - y) / step for _, y in points]
            for depth in depths:
                self.assertAlmostEqual(depth, round(depth), delta=0.01 + 0.01 / step)
                self.assertTrue(0 <= round(depth) <= bound)
            found.append([round(depth) for depth in depths])
        self.assertEqual(len(found), 2)
        return found

    def test_chart_of_a_quick_run(self):
        for name in "abc":
            self.write(name + ".png", noise(2, 2))
        for depth in (1, 2, 5, 8, 100, 10_000):
            self.output = self.folder / f"output {depth}"
            chart = self.folder / f"chart {depth}.svg"
            self.transform(depth=depth, plot=chart)
            for depths in self.depths(chart, depth):
                self.assertLessEqual(max(depths), 3)
                self.assertEqual(depths[-1], 0)

    def test_no_chart_unless_asked_for(self):
        self.write("a.png", noise(2, 2))
        self.transform(settings={"cwd": self.folder})
        self.assertEqual(sorted(os.listdir(self.folder)), ["output", "source"])

    def test_chart_that_cannot_be_written(self):
        self.write("a.png", noise(2, 2))
        missing = self.folder / "nowhere" / "chart.svg"
        out, err = self.run_program(self.pipeline_command(plot=missing), 1)
        self.assertEqual((out, err), ("", f"image_pipeline: {missing}: No such file or directory\n"))
        self.assertEqual(os.listdir(self.output), [], "said before the work is done")
        _, err = self.transform(code=1, plot="/dev/full")
        self.assertEqual(err, ["image_pipeline: /dev/full: No space left on device"])


class Stopping(ImagePipeline):
    def signal(self, process, number):
        """Sends the first signal, and waits until the program knows that it is to stop: then it takes a second one."""
        def taken():
            pending_and_blocked = self.thread_status(process, "signals", "ShdPnd", "SigBlk")
            return not any(int(bits, 16) & 1 << (number - 1) for bits in pending_and_blocked)

        self.thread_status(process, "signals")  # from now on it waits for signals
        process.send_signal(number)
        self.eventually(taken)

    def test_what_is_begun_is_finished_and_the_rest_is_dropped(self):
        workers = {"readers": 1, "transformers": 1, "writers": 1, "depth": 2}
        for number in (signal.SIGINT, signal.SIGTERM):
            self.folder = self.folder / str(number)
            self.source, self.output = self.folder / "source", self.folder / "output"
            self.source.mkdir(parents=True)
            names = self.make_pipes(20)
            held_back = self.hold_back_writer(names[2])
            process = self.start(**workers)
            picture = noise(4, 4)
            for name in names[:9]:  # seven behind the two that are written: with each worker one, two in each queue
                (self.source / name).write_bytes(png.encode(picture))
            self.wait_until_full(process)
            self.signal(process, number)
            self.assertEqual(png.decode(held_back.read_bytes()), invert(picture))
            (done, count, stages, _), err = self.finish(process, 128 + number)
            self.assertEqual((done, count, err), (3, 20, ["image_pipeline: stopped: 17 pictures were not done"]))
            self.assertEqual([stages[s][1] for s in STAGES], [9, 6, 3])
            (self.output / names[2]).unlink()  # it is the pipe
            self.assert_written({name: invert(picture) for name in names[:2]})

    def test_second_signal_ends_a_program_that_cannot_go_on(self):
        (name,) = self.make_pipes(1)
        process = self.start()
        self.addCleanup(os.close, os.open(self.source / name, os.O_WRONLY))  # somebody reads, and there will be nothing
        self.signal(process, signal.SIGINT)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=programs.SECONDS)
        self.assertEqual(process.returncode, -signal.SIGINT)


class WrongUse(ImagePipeline):
    def test_help(self):
        out, _ = self.run_program(self.command("image_pipeline", "--help"))
        options = "source output transform readers transformers writers depth max-pixels fail-fast plot".split()
        for option in options:
            self.assertIn("--" + option, out)
        for transform in ("grayscale", "invert", "edges", "blur:RADIUS", "thumbnail:SIZE"):
            self.assertIn(f"\n  {transform} ", out)

    def test_options(self):
        self.write("a.png", noise(2, 2))
        for wrong in (
            {"readers": 0}, {"transformers": 1001}, {"writers": "many"}, {"depth": 0}, {"depth": 10_001},
            {"max_pixels": 0}, {"color": "blue"}, {"source": self.folder / "nowhere"},
            {"source": self.source / "a.png"},
        ):
            out, err = self.run_program(self.pipeline_command(**wrong), 2)
            self.assertEqual(out, "")
            self.assertIn(next(iter(wrong)).replace("_", "-"), err)
        for missing in ("source", "output", "transform"):
            command = self.pipeline_command()
            at = command.index("--" + missing)
            _, err = self.run_program(command[:at] + command[at + 2 :], 2)
            self.assertIn(f"--{missing} is required", err)

    def test_transforms(self):
        self.write("a.png", noise(2, 2))
        for wrong, said in {
            "sharpen": "there is no 'sharpen'", "": "transform", "blur": "'blur' must be blur:RADIUS",
            "invert:3": "'invert:3' must be invert", "blur:0": "RADIUS must be a number from 1 to 10000",
            "thumbnail:10001": "SIZE must be a number from 1 to 10000", "blur:-1": "'blur:-1': RADIUS must be",
            "blur:3x": "'blur:3x': RADIUS must be", "blur:": "'blur:': RADIUS must be",
            "invert,blur:99999999999999999999": "RADIUS must be", "invert,nothing": "there is no 'nothing'",
        }.items():
            out, err = self.run_program(self.pipeline_command(transform=wrong), 2)
            self.assertEqual(out, "")
            self.assertIn(said, err)
        self.assertFalse(self.output.exists())

    def test_folders(self):
        _, err = self.run_program(self.pipeline_command(), 2)
        self.assertEqual(err, f"image_pipeline: {self.source}: there are no pictures (*.png)\n")
        self.write("a.png", noise(2, 2))
        (self.folder / "link").symlink_to(self.source)
        for same in (self.source, self.folder / "link"):
            _, err = self.run_program(self.pipeline_command(output=same), 2)
            self.assertIn("must not be the source folder", err)
        (self.folder / "file").write_text("")
        _, err = self.run_program(self.pipeline_command(output=self.folder / "file"), 2)
        self.assertIn(str(self.folder / "file"), err)
        self.assertEqual(os.listdir(self.source), ["a.png"])

    def test_table_that_cannot_be_written(self):
        self.write("a.png", noise(2, 2))
        with open("/dev/full", "w") as full:
            pipes = {"stdout": full, "stderr": subprocess.PIPE, "text": True}
            done = subprocess.run(self.pipeline_command(), timeout=programs.SECONDS, check=False, **pipes)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr, "image_pipeline: standard output: No space left on device\n")


class MakePictures(ImagePipeline):
    def make(self, code=0, **options):
        return self.run_program(self.command("make_pictures", output=self.source, **options), code)

    def test_pictures(self):
        self.make(number=3, width=50, height=20)
        names = [f"picture-000{i}.png" for i in range(3)]
        self.assertEqual(sorted(os.listdir(self.source)), names)
        pictures = [png.read(self.source / name) for name in names]
        for rows in pictures:
            self.assertEqual((len(rows), {len(row) for row in rows}), (20, {50}))
            self.assertEqual({pixel[3] for row in rows for pixel in row}, {255})
            self.assertGreater(len({pixel for row in rows for pixel in row}), 100)
        self.assertEqual(len({str(rows) for rows in pictures}), 3)

        first = programs.tree(self.source)
        self.source = self.folder / "more" / "pictures"
        self.make(number=4, width=50, height=20)
        second = programs.tree(self.source)
        self.assertEqual({name: second[name] for name in first}, first)

    def test_failures(self):
        self.make(number=1, width=1, height=1)
        _, err = self.make(1, number=2, width=1, height=1)
        self.assertEqual(err, f"make_pictures: {self.source}/picture-0000.png: the output file exists\n")
        self.assertEqual(len(os.listdir(self.source)), 2)
        for wrong in ({"number": 0}, {"width": 20_001}, {"height": "high"}, {"color": "blue"}):
            _, err = self.make(2, **wrong)
            self.assertIn(next(iter(wrong)), err)


if __name__ == "__main__":
    programs.main()
