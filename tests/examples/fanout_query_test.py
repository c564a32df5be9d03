"""fanout_query: every way gets the same results, those that fan out are faster, the timeline shows it, and whatever
goes wrong is said.
"""

import os
import re
import resource
import subprocess
import sys

sys.dont_write_bytecode = True
import programs  # noqa: E402
import svg  # noqa: E402

# ThreadSanitizer lets a program sleep for a second before it ends; here so many end that it takes minutes.
os.environ.setdefault("TSAN_OPTIONS", "atexit_sleep_ms=50")

WAYS = ("serial", "pool", "loop")
COLUMNS = ("threads", "handled", "failed", "p50 ms", "max ms", "total s")
AGREE = "results: the same in every way"


def values(requests, queries):
    """What the server has to answer, for each request."""
    numbers = [[r * queries + q + 1 for q in range(queries)] for r in range(requests)]
    return [[number * 2654435761 % 2**32 for number in row] for row in numbers]


def latencies(requests, queries, fastest, slowest, seed=1):
    """How long the answers take, in milliseconds, for each request."""
    chosen, rows = seed, []
    for _ in range(requests):
        row = []
        for _ in range(queries):
            chosen = chosen * 48271 % (2**31 - 1)
            row.append((fastest * 1000 + chosen % ((slowest - fastest) * 1000 + 1)) / 1000)
        rows.append(row)
    return rows


class FanoutQuery(programs.ProgramTest):
    def run_it(self, *arguments, code=0, settings=None, **options):
        """Runs it and returns the rows of its table by way, the lines behind it, and the lines of stderr."""
        out, err = self.run_program(self.command("fanout_query", *arguments, **options), code, **(settings or {}))
        head, *lines = out.splitlines()
        self.assertEqual(head.split(), ["way", *" ".join(COLUMNS).split()])
        rows = {}
        while lines and lines[0].split()[0] in WAYS and "request" not in lines[0]:
            way, *numbers = lines.pop(0).split()
            self.assertEqual(len(numbers), len(COLUMNS))
            rows[way] = dict(zip(COLUMNS, map(float, numbers)))
        return rows, lines, err.splitlines()


class Ways(FanoutQuery):
    def test_results(self):
        rows, lines, err = self.run_it("--list", requests=5, queries=7, fastest="1ms", slowest="20ms")
        self.assertEqual((list(rows), err), (list(WAYS), []))
        for row in rows.values():
            self.assertEqual((row["handled"], row["failed"]), (5, 0))
        listed = [
            f"{way} request {i}: " + " ".join(map(str, row)) for way in WAYS for i, row in enumerate(values(5, 7))
        ]
        self.assertEqual(lines, [AGREE, *listed])

    def test_one_way_alone(self):
        for way in WAYS:
            rows, lines, err = self.run_it("--list", way=way, requests=2, queries=3, fastest="1ms", slowest="1ms")
            self.assertEqual((list(rows), err), ([way], []))
            self.assertEqual(lines, [f"{way} request {i}: {' '.join(map(str, v))}" for i, v in enumerate(values(2, 3))])

    def test_times(self):
        """Seconds lie between the ways, so that no busy machine turns their order round."""
        rows, _, _ = self.run_it(requests=4, queries=12, fastest="200ms", slowest="300ms", workers=48)
        waits = latencies(4, 12, 200, 300)
        sums, longest = sorted(map(sum, waits)), max(map(max, waits))
        self.assertGreaterEqual(rows["serial"]["max ms"], sums[-1])
        self.assertGreaterEqual(rows["serial"]["p50 ms"], sums[1])
        self.assertGreaterEqual(rows["pool"]["max ms"], longest)
        self.assertGreaterEqual(rows["loop"]["max ms"], longest)
        for way in ("pool", "loop"):
            self.assertLess(rows[way]["total s"], rows["serial"]["total s"] / 2)
        for row in rows.values():
            self.assertLessEqual(row["p50 ms"], row["max ms"])
            self.assertLessEqual(row["max ms"], row["total s"] * 1000 + 1)

    def test_a_loop_needs_one_thread(self):
        rows, _, _ = self.run_it(requests=3, queries=10, fastest="300ms", slowest="300ms", workers=30)
        self.assertEqual(rows["serial"]["threads"], 3)
        self.assertEqual(rows["loop"]["threads"], 3 + 1)
        self.assertEqual(rows["pool"]["threads"], 3 + 30)

    def test_few_workers_make_a_pool_slow(self):
        rows, lines, _ = self.run_it(requests=2, queries=6, fastest="50ms", slowest="50ms", workers=1)
        self.assertEqual((lines, rows["pool"]["threads"]), ([AGREE], 3))
        self.assertGreaterEqual(rows["pool"]["total s"], 2 * 6 * 0.050)


class Timeline(FanoutQuery):
    def draw(self, *arguments, code=0, **options):
        path = self.folder / "timeline.svg"
        _, _, err = self.run_it(*arguments, code=code, plot=path, **options)
        picture = svg.Picture(path)
        self.assertEqual(picture.outside(), [])
        width, height = map(float, picture.root.get("viewBox").split()[2:])
        for bar in picture.root.iter(svg.NAMESPACE + "rect"):
            if bar.get("class"):
                x, y, w, h = (float(bar.get(name)) for name in ("x", "y", "width", "height"))
                self.assertLessEqual((x + w <= width, y + h <= height), (True, True))
        return picture, err

    def notes(self, picture, kind):
        return [bar.find(svg.NAMESPACE + "title").text for bar in picture.shapes("rect", kind)]

    def test_all_is_drawn(self):
        picture, _ = self.draw(requests=3, queries=4, fastest="50ms", slowest="90ms", seed=7)
        self.assertEqual(picture.title, "3 requests at once, each asks 4 queries")
        titles = picture.texts("panel")
        for title, ways in zip(titles, ("one after another, 3", "with a thread pool, ", "with one event loop, 4")):
            self.assertTrue(title.startswith(ways) and title.endswith(" threads"), titles)
        self.assertEqual(picture.texts("row"), ["0", "1", "2"] * 3)
        self.assertEqual(len(picture.shapes("rect", "request")), 9)
        self.assertEqual(picture.shapes("rect", "failed"), [])

        waits = [wait for row in latencies(3, 4, 50, 90, seed=7) for wait in row]
        notes = self.notes(picture, "query")
        self.assertEqual(len(notes), 3 * 12)
        for i, note in enumerate(notes):
            number, wait, took = re.match(r"query (\d+), answered after ([\d.]+) ms: ([\d.]+) ms$", note).groups()
            self.assertEqual((int(number), float(wait)), (i % 12 + 1, waits[i % 12]))
            self.assertGreaterEqual(float(took), waits[i % 12])

    def test_bars_lie_in_their_requests(self):
        picture, _ = self.draw(requests=3, queries=4, fastest="50ms", slowest="90ms")
        requests, queries = picture.shapes("rect", "request"), picture.shapes("rect", "query")

        def span(bar):
            return float(bar.get("x")), float(bar.get("x")) + float(bar.get("width"))

        for i, request in enumerate(requests):
            begin, end = span(request)
            bars = [span(bar) for bar in queries[4 * i : 4 * i + 4]]
            for bar in bars:
                self.assertGreaterEqual(bar[0], begin - 0.02)
                self.assertLessEqual(bar[1], end + 0.02)
            if i < 3:  # one after another
                for before, after in zip(bars, bars[1:]):
                    self.assertLessEqual(before[1], after[0] + 0.02)
            if i >= 6:  # on the loop all are asked before one is answered
                self.assertLess(max(bar[0] for bar in bars), min(bar[1] for bar in bars))

    def test_failed_requests_are_marked(self):
        picture, _ = self.draw(requests=3, queries=4, fastest="1ms", slowest="5ms", fail_every=12, code=1)
        self.assertEqual(len(picture.shapes("rect", "failed")), 3)
        self.assertEqual(len(picture.shapes("rect", "query")), 3 * 8)
        self.assertEqual([n.split(":")[0] for n in self.notes(picture, "failed")], ["request 2"] * 3)

    def test_file_that_cannot_be_written(self):
        nowhere = self.folder / "none" / "t.svg"
        for name, error in ((nowhere, "No such file or directory"), ("/dev/full", "No space left")):
            command = self.command("fanout_query", requests=1, queries=1, plot=name)
            _, err = self.run_program(command, 1)
            self.assertTrue(err.startswith(f"fanout_query: {name}: {error}"), err)


class Faults(FanoutQuery):
    def test_server_that_hangs_up(self):
        for way in WAYS:
            rows, _, err = self.run_it(
                way=way, requests=4, queries=5, fastest="1ms", slowest="5ms", fail_every=8, workers=3, code=1
            )
            self.assertEqual((rows[way]["handled"], rows[way]["failed"]), (2, 2))
            expected = [f"request {i}: query {n}: the server hung up" for i, n in ((1, 8), (3, 16))]
            self.assertEqual(err, [f"fanout_query: {way}: {line}" for line in expected])

    def test_server_that_does_not_answer(self):
        for way in WAYS:
            # Answers that are there at once are in time; one never comes.
            rows, _, err = self.run_it(
                way=way, requests=3, queries=2, fastest="1ms", slowest="1ms", mute_every=4, timeout="2s", code=1
            )
            self.assertEqual((rows[way]["handled"], rows[way]["failed"]), (2, 1))
            self.assertEqual(err, [f"fanout_query: {way}: request 1: not all queries were answered within 2000 ms"])
            self.assertGreaterEqual(rows[way]["max ms"], 2000)

    def test_server_that_answers_nothing(self):
        rows, lines, err = self.run_it(requests=3, queries=4, mute_every=1, timeout="50ms", workers=2, code=1)
        self.assertEqual([row["failed"] for row in rows.values()], [3, 3, 3])
        self.assertEqual((lines, len(err)), ([AGREE], 9))

    def test_server_that_is_too_slow(self):
        for way in WAYS:
            settings = {"requests": 2, "queries": 3, "fastest": "10min", "slowest": "10min", "timeout": "50ms"}
            rows, _, err = self.run_it(way=way, code=1, **settings)
            self.assertEqual((rows[way]["failed"], len(err)), (2, 2))

    def test_too_few_descriptors(self):
        if "undefined" in programs.build_settings(self.programs["fanout_query"]).get("CONC_SANITIZE", ""):
            self.skipTest("UndefinedBehaviorSanitizer needs a descriptor to look at objects")

        def few():
            resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))

        for way in WAYS:
            settings = {"requests": 30, "queries": 10, "fastest": "50ms", "slowest": "50ms", "timeout": "20s"}
            rows, _, err = self.run_it(way=way, code=1, settings={"preexec_fn": few}, **settings)
            self.assertGreater(rows[way]["failed"], 0)
            for line in err:
                self.assertRegex(line, rf"^fanout_query: {way}: request \d+: .*(Too many open files|within 20000 ms)")

    def test_output_that_cannot_be_written(self):
        with open("/dev/full", "wb") as full:
            command = self.command("fanout_query", requests=1, queries=1)
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=programs.SECONDS, check=False)
        self.assertEqual((done.returncode, done.stderr[:29]), (1, b"fanout_query: standard output"))


class Errors(FanoutQuery):
    def test_each_mistake_is_noticed(self):
        out, err = self.run_program(self.command("fanout_query", "--errors"))
        self.assertEqual(err, "")
        shown = re.findall(r"^(\w.+)\n  (UsageError|DeadlockError): (.+)\n  (\w.+)\n", out, re.MULTILINE)
        self.assertEqual(out, "".join(f"{mistake}\n  {t}: {what}\n  {advice}\n" for mistake, t, what, advice in shown))
        what = [(kind, text) for _, kind, text, _ in shown]
        self.assertEqual(
            [kind for kind, _ in what], ["UsageError", "UsageError", "DeadlockError", "UsageError"]
        )
        for (_, text), words in zip(what, ("already running", "Non-thread-safe", "would never end", "loop is closed")):
            self.assertIn(words, text)


class WrongUse(FanoutQuery):
    def test_wrong_use(self):
        for arguments, words in (
            (["--requests", "0"], "--requests"),
            (["--requests", "1001"], "--requests"),
            (["--queries", "x"], "--queries"),
            (["--workers", "-1"], "--workers"),
            (["--seed", "0"], "--seed"),
            (["--seed", "2147483647"], "--seed"),
            (["--fastest", "0ms"], "--fastest"),
            (["--fastest", "5"], "unit"),
            (["--slowest", "nanms"], "--slowest"),
            (["--fastest", "61ms"], "--fastest"),
            (["--timeout", "11min"], "--timeout"),
            (["--way", "both"], "--way"),
            (["--fail-every", "0"], "--fail-every"),
            (["--plot"], "--plot"),
            (["more"], "more"),
        ):
            out, err = self.run_program(self.command("fanout_query", *arguments), 2)
            self.assertEqual(out, "")
            self.assertIn(words, err)

    def test_help(self):
        out, _ = self.run_program(self.command("fanout_query", "--help"))
        self.assertIn("Exit code:", out)


if __name__ == "__main__":
    programs.main()
