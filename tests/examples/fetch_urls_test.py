"""fetch_urls: fetches all there is to fetch in every mode, says why the rest is not there, and shows how far it is."""

import fcntl
import http.server
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
import urllib.parse

sys.dont_write_bytecode = True
import programs  # noqa: E402

# ThreadSanitizer lets a program sleep for a second before it ends; here so many end that it takes minutes.
os.environ.setdefault("TSAN_OPTIONS", "atexit_sleep_ms=50")

MODES = ("serial", "map", "completed")
NUMBERS = ("fetched", "failed", "retried", "bytes", "seconds", "URLs/s", "p50 ms", "p99 ms", "speed-up")
STATUS = r" *\d+%  (\d+)/(\d+) URLs  [\d.]+/s(?:  p50 \d+ ms  p99 \d+ ms)?(?:  \d+:\d\d left)?(?:  \d+ failed)?"


class Site(http.server.ThreadingHTTPServer):
    """What a server can do to a client. A path's first word says what; other words make it distinct."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 100

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Visit)
        self.lock = threading.Lock()
        self.requests = []  # the paths, in the order in which they were asked for
        self.now, self.most = 0, 0  # requests that are being answered
        self.asked = threading.Condition(self.lock)
        self.open_gate = threading.Event()
        self.together = None  # a barrier

    def count(self, path):
        with self.lock:
            return self.requests.count(path)

    def wait_for(self, *paths, seconds=programs.SECONDS):
        with self.asked:
            assert self.asked.wait_for(lambda: all(p in self.requests for p in paths), seconds), self.requests

    def handle_error(self, *_):
        pass  # clients that hang up are meant to


class Visit(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.path = urllib.parse.unquote(self.path)
        with self.server.asked:
            self.server.requests.append(self.path)
            self.server.now += 1
            self.server.most = max(self.server.most, self.server.now)
            self.server.asked.notify_all()
        try:
            kind, *words = self.path.strip("/").split("/")
            getattr(self, "do_" + kind)(*words)
        finally:
            with self.server.lock:
                self.server.now -= 1

    def answer(self, status=200, body=b"hello", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_page(self, *_):
        self.answer()

    def do_status(self, status):
        self.answer(int(status))

    def do_flaky(self, failures, *_):
        self.answer(200 if self.server.count(self.path) > int(failures) else 503)

    def do_meet(self, *_):
        """Nobody is answered before as many clients as the barrier has parties have asked."""
        self.server.together.wait(programs.SECONDS)
        self.answer()

    def do_after(self, _, one, __, other):
        """Is answered when two other pages were asked for."""
        self.server.wait_for("/page/" + one, "/page/" + other)
        self.answer()

    def do_gate(self, *_):
        self.server.open_gate.wait(programs.SECONDS)
        self.answer()

    def do_redirect(self, hops):
        target = "page" if int(hops) == 1 else f"redirect/{int(hops) - 1}"
        self.answer(302, b"not counted", [("Location", "/" + target)])

    def do_loop(self):
        self.answer(302, b"", [("Location", "/loop")])

    def do_password(self):
        self.answer(302, b"", [("Location", "file:///etc/passwd")])

    def do_big(self, size):
        self.answer(200, b"x" * int(size))

    def do_endless(self):
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        while True:
            self.wfile.write(b"x" * 1000)

    def do_truncated(self):
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(b"x" * 10)
        self.close_connection = True

    def do_nothing(self, *_):
        self.close_connection = True

    def do_noise(self):
        self.wfile.write(b"\x00\x01\x02 this is no answer\r\n\r\n")
        self.close_connection = True


class FetchUrls(programs.ProgramTest):
    def start_site(self):
        self.site = Site()
        thread = threading.Thread(target=self.site.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        self.addCleanup(self.site.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(self.site.shutdown)
        self.addCleanup(self.site.open_gate.set)

    def url(self, path):
        return f"http://127.0.0.1:{self.site.server_address[1]}{path}"

    def fetch(self, *urls, code=0, settings=None, **options):
        """Runs it and returns the rows of its table by mode, the lines before the table, and what it complained of."""
        out, err = self.run_program(self.command("fetch_urls", *urls, **options), code, **(settings or {}))
        rows, lines = self.parse(out)
        return rows, lines, re.sub(rf"(?m)^{STATUS}\n", "", err)

    def parse(self, out):
        lines = out.splitlines()
        head = next(i for i, line in enumerate(lines) if line.startswith("mode "))
        self.assertEqual(lines[head].split(), ["mode", *" ".join(NUMBERS).split()])
        rows = {}
        for line in lines[head + 1 :]:
            mode, *values = line.split()
            self.assertEqual(len(values), len(NUMBERS), line)
            rows[mode] = {n: None if v == "-" else float(v) for n, v in zip(NUMBERS, values)}
        return rows, lines[:head]

    def fetch_one(self, path, error, modes=MODES, **options):
        """What fails: one URL, with a good one at each side."""
        for mode in modes:
            self.start_site()
            url = path if ":" in path else self.url(path)
            good = [self.url("/page/a"), self.url("/page/b")]
            rows, lines, err = self.fetch(good[0], url, good[1], "--list", mode=mode, code=1, **options)
            self.assertRegex(err, rf"\Afetch_urls: {re.escape(url)}: {error}\n\Z")
            self.assertEqual((rows[mode]["fetched"], rows[mode]["failed"], rows[mode]["bytes"]), (2, 1, 10))
            self.assertEqual(sorted(line.split()[-1] for line in lines), good)


class Fetching(FetchUrls):
    def test_all_modes_on_its_own_server(self):
        rows, lines, err = self.fetch(mode="all", serve=60, delay="5ms", bytes=1234, workers=8)
        self.assertEqual((list(rows), lines, err), (list(MODES), [], ""))
        for row in rows.values():
            self.assertEqual([row[n] for n in ("fetched", "failed", "retried", "bytes")], [60, 0, 0, 60 * 1234])
            self.assertGreaterEqual(row["p50 ms"], 5)
            self.assertGreaterEqual(row["p99 ms"], row["p50 ms"])
            self.assertAlmostEqual(row["URLs/s"], 60 / row["seconds"], delta=0.05 * row["URLs/s"])
            self.assertAlmostEqual(row["speed-up"], rows["serial"]["seconds"] / row["seconds"], delta=0.2)
        self.assertGreaterEqual(rows["serial"]["seconds"], 60 * 0.005)
        self.assertEqual(rows["serial"]["speed-up"], 1)

    def test_without_a_serial_run_there_is_no_speedup(self):
        for mode in ("map", "completed"):
            rows, _, _ = self.fetch(mode=mode, serve=3, delay="0ms")
            self.assertEqual(list(rows), [mode])
            self.assertIsNone(rows[mode]["speed-up"])

    def test_every_url_is_fetched_once_in_every_mode(self):
        for mode in MODES:
            self.start_site()
            urls = [self.url(f"/page/{i}") for i in range(100)]
            rows, lines, _ = self.fetch(*urls, urls[7], "--list", mode=mode, workers=7)
            self.assertEqual(sorted(self.site.requests), sorted(f"/page/{i}" for i in [*range(100), 7]))
            self.assertEqual(rows[mode]["bytes"], 101 * 5)
            self.assertEqual(sorted(line.split()[-1] for line in lines), sorted([*urls, urls[7]]))
            for line in lines:
                self.assertRegex(line, r"^200 +5 bytes +[\d.]+ ms  http://\S+$")
            if mode != "completed":
                self.assertEqual([line.split()[-1] for line in lines], [*urls, urls[7]], "in the order of the input")
            if mode == "serial":
                self.assertEqual(self.site.requests, [f"/page/{i}" for i in [*range(100), 7]])
            self.assertLessEqual(self.site.most, 1 if mode == "serial" else 7)

    def test_as_many_at_once_as_there_are_workers(self):
        for mode in ("map", "completed"):
            self.start_site()
            self.site.together = threading.Barrier(5)
            self.fetch(*[self.url(f"/meet/{i}") for i in range(20)], mode=mode, workers=5)
            self.assertEqual(self.site.most, 5)

    def test_order_of_arrival(self):
        for mode in ("map", "completed"):
            self.start_site()
            # The first is answered when both others were asked for. If one worker does that, it has got one of them.
            urls = [self.url(p) for p in ("/after/page/2/page/3", "/page/2", "/page/3")]
            _, lines, _ = self.fetch(*urls, "--list", mode=mode, workers=2)
            self.assertIn(lines[0].split()[-1], urls[:1] if mode == "map" else urls[1:])

    def test_redirects_are_followed(self):
        self.start_site()
        rows, _, _ = self.fetch(self.url("/redirect/5"))
        self.assertEqual(rows["completed"]["bytes"], 5)
        self.assertEqual(self.site.requests, [f"/redirect/{i}" for i in range(5, 0, -1)] + ["/page"])

    def test_page_as_long_as_allowed(self):
        self.start_site()
        rows, _, _ = self.fetch(self.url("/big/100000"), self.url("/big/0"), max_bytes=100_000)
        self.assertEqual(rows["completed"]["bytes"], 100_000)

    def test_no_proxy_for_the_own_server(self):
        environment = {**os.environ, "http_proxy": "http://127.0.0.1:9", "all_proxy": "http://127.0.0.1:9"}
        rows, _, _ = self.fetch(serve=2, settings={"env": environment})
        self.assertEqual(rows["completed"]["fetched"], 2)


class Failures(FetchUrls):
    def test_bad_url(self):
        self.fetch_one("http://[", r"URL using bad/illegal format or missing URL \(attempt 1\)")

    def test_protocols_other_than_http(self):
        self.fetch_one("file:///etc/passwd", r"Protocol .file. not supported .*\(attempt 1\)")
        self.fetch_one("/password", r"Protocol .file. not supported .*\(attempt 1\)")

    def test_refused_connection(self):
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))  # taken, and nobody listens
            url = f"http://127.0.0.1:{nobody.getsockname()[1]}/"
            self.fetch_one(url, r"Failed to connect .*\(attempt 2\)", retry=1, backoff="1ms")

    def test_timeout(self):
        options = {"timeout": "2000ms", "retry": 1, "backoff": "1ms", "modes": ["map"]}
        self.fetch_one("/gate", r".*timed out.* \(attempt 2\)", **options)

    def test_server_that_does_not_even_answer(self):
        with socket.create_server(("127.0.0.1", 0)) as mute:
            url = f"http://127.0.0.1:{mute.getsockname()[1]}/"
            self.fetch_one(url, r".*timed out.* \(attempt 1\)", timeout="2s", retry=0, modes=["completed"])

    def test_timeout_of_the_own_server(self):
        rows, _, err = self.fetch(serve=4, delay="60s", timeout="50ms", retry=0, code=1)
        self.assertEqual((rows["completed"]["fetched"], rows["completed"]["failed"]), (0, 4))
        self.assertEqual(len(re.findall(r"^fetch_urls: http://127.0.0.1:\d+/page/[0-3]: .*timed out", err, re.M)), 4)

    def test_statuses_that_will_not_change_are_not_tried_again(self):
        for status in (400, 404, 410):
            self.fetch_one(f"/status/{status}", rf"the server answered with status {status} \(attempt 1\)")
            self.assertEqual(self.site.count(f"/status/{status}"), 1)

    def test_statuses_that_may_change_are_tried_again(self):
        for status in (408, 429, 500, 503):
            error = rf"the server answered with status {status} \(attempt 3\)"
            self.fetch_one(f"/status/{status}", error, backoff="1ms")
            self.assertEqual(self.site.count(f"/status/{status}"), 3)

    def test_redirect_without_end(self):
        self.fetch_one("/loop", r"Maximum \(3\) redirects followed \(attempt 1\)", max_redirects=3)
        self.assertEqual(self.site.count("/loop"), 4)

    def test_no_redirects_wanted(self):
        self.fetch_one("/redirect/1", r"Maximum \(0\) redirects followed \(attempt 1\)", max_redirects=0)

    def test_page_too_long(self):
        for path in ("/big/1001", "/endless"):  # one that tells its size, and one that does not
            self.fetch_one(path, r"the page has more than 1000 bytes \(attempt 1\)", max_bytes=1000)

    def test_connection_lost(self):
        self.fetch_one("/nothing", r"Empty reply from server \(attempt 2\)", retry=1, backoff="1ms")
        self.fetch_one("/truncated", r".*90 bytes remaining.* \(attempt 2\)", retry=1, backoff="1ms")

    def test_something_else_than_http(self):
        self.fetch_one("/noise", r"Received HTTP/0.9 when not allowed \(attempt 1\)")

    def test_everything_fails(self):
        self.start_site()
        for mode in MODES:
            rows, _, err = self.fetch(*[self.url(f"/status/{s}") for s in (404, 405, 406)], mode=mode, code=1)
            self.assertEqual([rows[mode][n] for n in ("fetched", "failed", "p50 ms")], [0, 3, 0])
            self.assertEqual(err.count("\n"), 3)

    def test_text_of_others_does_not_command_the_terminal(self):
        self.start_site()
        _, _, err = self.fetch(self.url("/\x1b[31mred\n"), code=1)
        self.assertRegex(err, r"\Afetch_urls: http://127.0.0.1:\d+/\?\[31mred\?: [ -~]+\n\Z")

    def test_output_that_cannot_be_written(self):
        with open("/dev/full", "wb") as full:
            command = self.command("fetch_urls", serve=1)
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=programs.SECONDS, check=False)
        self.assertEqual((done.returncode, done.stderr), (1, b"fetch_urls: the output cannot be written\n"))


class Retries(FetchUrls):
    def test_success_at_the_last_attempt(self):
        for mode in MODES:
            self.start_site()
            urls = [self.url("/flaky/3/a"), self.url("/page"), self.url("/flaky/3/b")]
            rows, _, err = self.fetch(*urls, mode=mode, retry=3, backoff="1ms")
            self.assertEqual(err, "")
            self.assertEqual([rows[mode][n] for n in ("fetched", "failed", "retried")], [3, 0, 2])
            self.assertEqual(self.site.count("/flaky/3/a"), 4)

    def test_no_more_attempts_than_asked_for(self):
        for retry in (0, 2):
            self.fetch_one("/flaky/3", rf".* 503 \(attempt {retry + 1}\)", retry=retry, backoff="1ms")
            self.assertEqual(self.site.count("/flaky/3"), retry + 1)

    def test_pauses_grow(self):
        self.start_site()
        rows, _, _ = self.fetch(self.url("/flaky/3"), retry=3, backoff="100ms", mode="serial")
        self.assertGreaterEqual(rows["serial"]["seconds"], (0.1 + 0.2 + 0.4) / 2, "at least half of each")
        self.assertLess(rows["serial"]["p50 ms"] / 1000, rows["serial"]["seconds"], "the pauses do not count")

    def test_own_server_fails_as_often_as_asked_for_in_each_run(self):
        options = {"mode": "all", "serve": 10, "fail_every": 3, "delay": "0ms", "backoff": "1ms"}
        rows, _, err = self.fetch(**options)
        self.assertEqual(err, "")
        for mode in MODES:
            self.assertEqual((rows[mode]["fetched"], rows[mode]["retried"]), (10, 3))
        rows, _, err = self.fetch(**options, fail_times=2, retry=1, code=1)
        for mode in MODES:
            self.assertEqual((rows[mode]["fetched"], rows[mode]["failed"], rows[mode]["retried"]), (7, 3, 0))
        self.assertEqual(re.findall(r"/page/(\d): .* 503 \(attempt 2\)", err)[:6], ["2", "5", "8"] * 2)
        rows, _, err = self.fetch(**options, fail_times=2, retry=2)
        self.assertEqual([rows[mode]["retried"] for mode in MODES], [3, 3, 3])


class Input(FetchUrls):
    def write(self, text):
        file = self.folder / "urls.txt"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    def test_file(self):
        self.start_site()
        lines = ["# comment", "", "A", "  B\t", "C # comment", "D#fragment", "\t#", "A\r"]
        text = "\ufeff" + "\n".join(lines).translate({ord(c): self.url(f"/page/{c}") for c in "ABCD"})
        for ending in ("", "\n"):
            self.site.requests.clear()
            file = self.write(text + ending)
            _, pages, _ = self.fetch(self.url("/page/argument"), "--list", file=file, mode="serial")
            self.assertEqual(self.site.requests, ["/page/argument", *(f"/page/{c}" for c in "ABCDA")])
            self.assertEqual(pages[4].split()[-1], self.url("/page/D#fragment"))

    def test_standard_input(self):
        self.start_site()
        settings = {"input": self.url("/page/1\n").encode()}
        self.fetch(file="-", settings=settings)
        self.assertEqual(self.site.requests, ["/page/1"])

    def refused(self, reason, **options):
        _, err = self.run_program(self.command("fetch_urls", **options), 2)
        self.assertRegex(err, rf"^fetch_urls: {reason}\n\Z")

    def test_what_is_wrong_with_a_file(self):
        name = re.escape(str(self.folder / "urls.txt"))
        self.refused(f"{name}: No such file or directory", file=self.folder / "urls.txt")
        self.refused(f"{re.escape(str(self.folder))}: Is a directory", file=self.folder)
        blank = "is no URL: it has blanks or control characters"
        self.refused(f"{name}: line 3 {blank}", file=self.write("http://a/\n\nhttp://b/ http://c/\n"))
        self.refused(f"{name}: line 1 {blank}", file=self.write(b"\x7fELF\0\0"))
        self.refused(f"{name}: line 2 {blank}", file=self.write("http://a/\nhttp://\x1b[31m/"))
        for empty in ("", "\n\n# nothing\n", "\ufeff"):
            self.refused("there are no URLs; .*", file=self.write(empty))

    def test_file_that_may_not_be_read(self):
        settings = self.as_ordinary_user()
        file = self.write("http://127.0.0.1/")
        file.chmod(0)
        _, err = self.run_program(self.command("fetch_urls", file=file), 2, **settings)
        self.assertEqual(err, f"fetch_urls: {file}: Permission denied\n")

    def test_command_line(self):
        self.refused("there are no URLs; .*")
        out, _ = self.run_program(self.command("fetch_urls", "--help"))
        wrong = {
            "mode": "fast", "workers": 0, "timeout": "0s", "retry": -1, "backoff": "-1s", "max-bytes": 0,
            "max-redirects": -1, "serve": 0, "delay": "10", "bytes": -1, "fail-every": 0, "fail-times": 0,
        }
        for option, value in wrong.items():
            self.assertIn("--" + option, out)
            _, err = self.run_program(self.command("fetch_urls", **{"serve": 1} | {option: value}), 2)
            self.assertIn("--" + option, err)
        for timeout in ("10", "", "soon", "1h", "nan s", "100min"):
            self.run_program(self.command("fetch_urls", serve=1, timeout=timeout), 2)
        self.run_program(self.command("fetch_urls", "--color", serve=1), 2)


class StartedFetchUrls(FetchUrls):
    def start(self, *urls, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options):
        command = self.command("fetch_urls", *urls, **options)
        process = subprocess.Popen(command, stdout=stdout, stderr=stderr)
        for stream in (process.stdout, process.stderr):
            if stream:
                self.addCleanup(stream.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def finish(self, process, code):
        out, err = process.communicate(timeout=programs.SECONDS)
        self.assertEqual(process.returncode, code, (out, err))
        return (out or b"").decode(), (err or b"").decode()


class Stopping(StartedFetchUrls):
    def test_during_a_request(self):
        for mode, number in zip((*MODES, "all"), (signal.SIGINT, signal.SIGTERM) * 2):
            self.start_site()
            paths = ["/page/1", "/gate/1", "/page/2", "/page/3"]
            process = self.start(*[self.url(p) for p in paths], mode=mode, workers=1, timeout="10min")
            self.site.wait_for("/gate/1")
            process.send_signal(number)
            out, err = self.finish(process, 128 + number)
            rows, _ = self.parse(out)
            self.assertEqual(len(rows), 1, "no further run is started")
            (row,) = rows.values()
            self.assertEqual((row["fetched"], row["failed"]), (1, 3))
            errors = [line for line in err.splitlines() if line.startswith("fetch_urls")]
            self.assertEqual(errors, ["fetch_urls: interrupted: 3 URLs were not fetched"])
            self.assertEqual(self.site.requests, paths[:2])

    def test_during_a_pause(self):  # one that is longer than the test may last
        for mode in MODES:
            self.start_site()
            paths = [f"/status/{503 + i}" for i in range(3)]
            process = self.start(*[self.url(p) for p in paths], mode=mode, workers=3, backoff="10min")
            asked = paths[:1] if mode == "serial" else paths
            self.site.wait_for(*asked)
            process.send_signal(signal.SIGINT)
            _, err = self.finish(process, 128 + signal.SIGINT)
            self.assertIn("fetch_urls: interrupted: 3 URLs were not fetched\n", err)
            self.assertEqual(sorted(self.site.requests), asked)

    def test_second_signal_ends_a_program_that_cannot_go_on(self):
        process = self.start("--list", serve=5000, delay="0ms")
        process.stdout.read(1)  # it prints its list now, more than fits into the pipe
        while process.poll() is None:
            process.send_signal(signal.SIGTERM)
        self.assertEqual(process.returncode, -signal.SIGTERM)


class Progress(StartedFetchUrls):
    def test_lines_where_there_is_no_terminal(self):
        self.start_site()
        urls = [self.url(p) for p in ("/page", "/status/404", "/gate", "/page/2")]
        started = time.monotonic()
        process = self.start(*urls, mode="serial", timeout="10min")
        lines = [process.stderr.readline().decode() for _ in range(3)]
        self.assertGreaterEqual(time.monotonic() - started, 3, "no more than one a second")
        for line in lines:
            self.assertRegex(line, rf"^{STATUS}\n$")
            self.assertRegex(line, r"^ 50%  2/4 URLs .* left  1 failed\n$")
        self.site.open_gate.set()
        out, err = self.finish(process, 1)
        self.assertNotIn("\x1b", out + err)
        self.assertIn(f"fetch_urls: {urls[1]}: ", err)

    def test_short_run_prints_no_lines(self):
        started = time.monotonic()
        _, err = self.run_program(self.command("fetch_urls", serve=3, delay="0ms"))
        self.assertLessEqual(err.count("\n"), time.monotonic() - started, "none before a second is over")

    def test_dumb_terminal_gets_no_pictures(self):
        terminal, other_end = pty.openpty()
        self.addCleanup(os.close, terminal)
        os.environ["TERM"] = "dumb"
        process = self.start(serve=3, delay="1500ms", stderr=other_end)
        os.close(other_end)
        self.finish(process, 0)
        self.assertRegex(self.read_rest(terminal), rf"\A{STATUS}\r\n\Z")

    def read_rest(self, terminal):
        seen = b""
        while True:
            try:
                seen += os.read(terminal, 10_000)
            except OSError:  # the other end is closed
                return seen.decode()

    def watch(self, paths, width=120, height=24, until=b"", **options):
        """Lets it work until it has drawn some pictures, and what is to be seen; returns the lines of each picture."""
        self.start_site()
        terminal, other_end = pty.openpty()
        self.addCleanup(os.close, terminal)
        fcntl.ioctl(other_end, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        os.environ["TERM"] = "xterm"
        started = time.monotonic()
        process = self.start(*[self.url(p) for p in paths], stderr=other_end, timeout="10min", **options)
        os.close(other_end)
        seen = b""
        while seen.count(b"\r\x1b[J") < 4 or not re.search(until, seen):
            seen += os.read(terminal, 10_000)
        self.site.open_gate.set()
        out, _ = self.finish(process, 0)
        rest = self.read_rest(terminal)
        elapsed = time.monotonic() - started
        parts = (seen.decode() + rest).replace("\r\n", "\n").split("\r\x1b[J")
        self.assertEqual(parts.pop(), "", "nothing is left but an empty place")
        self.assertLessEqual(len(parts), 10 * elapsed + 2, "ten pictures a second, and the removal")

        shown = []
        for part in parts:
            up = f"\x1b[{len(shown[-1])}A" if shown else ""
            self.assertTrue(part.startswith(up), "a picture takes the place of the one before")
            lines = part[len(up) :].split("\n")
            self.assertEqual(lines.pop(), "")
            if part is parts[-1]:
                self.assertEqual(lines, [], "in the end the picture is removed")
                break
            for line in lines:
                self.assertTrue(line.startswith("\r\x1b[K"))
                self.assertRegex(line[4:], r"^[ -~]*$")
                self.assertLess(len(line[4:]), width)
            self.assertLess(len(lines), height)
            shown.append([line[4:] for line in lines])
        self.parse(out)
        return shown

    def test_pictures_on_a_terminal(self):
        paths = ["/page/a", *(f"/gate/{i}" for i in range(6)), "/page/b"]
        # Each worker comes to a page that is held back, in whatever order it takes them.
        pictures = self.watch(paths, until=rb"(/gate/\d\r\n.*){3}", workers=3)
        for head, *rows in pictures:
            bar, done, total = re.match(rf"^\[(#*\.*)\] {STATUS}$", head).group(1, 2, 3)
            self.assertEqual((len(bar), bar.count("#"), total), (30, 30 * int(done) // 8, "8"))
            self.assertEqual(len(rows), 3)
            for number, row in enumerate(rows):
                self.assertRegex(row, rf"^ +{number} +(-|\d+\.\d s  http://127.0.0.1:\d+/(page|gate)/\w)$")
        busy = [row.split("/")[-1] for row in pictures[-1][1:] if "gate" in row]
        self.assertEqual(len(busy), len(set(busy)), "no page is fetched twice")

    def test_a_picture_is_one_write(self):
        self.start_site()
        terminal, other_end = pty.openpty()
        self.addCleanup(os.close, terminal)
        fcntl.ioctl(other_end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
        os.environ["TERM"] = "xterm"
        process = self.start(*[self.url(f"/gate/{i}") for i in range(3)], workers=3, stderr=other_end, timeout="10min")
        os.close(other_end)
        seen = b""

        def writes():
            with open(f"/proc/{process.pid}/io") as file:
                return int(re.search(r"syscw: (\d+)", file.read())[1])

        def pictures_and_writes(least):
            """Both as they are at a moment at which nothing is written."""
            nonlocal seen
            while True:
                seen += os.read(terminal, 10_000)
                before = writes()
                quiet = not select.select([terminal], [], [], 0.02)[0]
                if quiet and writes() == before and seen.count(b"\r\x1b[J") >= least:
                    return seen.count(b"\r\x1b[J"), before

        # All workers are held back, so that from here on nothing but pictures is written.
        first = pictures_and_writes(3)
        last = pictures_and_writes(first[0] + 5)
        self.assertEqual(last[0] - first[0], last[1] - first[1])
        self.site.open_gate.set()
        self.finish(process, 0)
        self.read_rest(terminal)

    def test_times_on_a_terminal(self):
        seen = rb" 50%  1/2 URLs  [\d.]+/s  p50 \d+ ms  p99 \d+ ms  \d+:\d\d left\r\n"
        for mode in MODES:
            self.watch(["/page", "/gate"], until=seen, workers=1, mode=mode)

    def test_pauses_and_attempts_are_shown(self):
        self.start_site()
        terminal, other_end = pty.openpty()
        self.addCleanup(os.close, terminal)
        os.environ["TERM"] = "xterm"
        paths = ["/flaky/1/then", "/status/503"]
        process = self.start(*[self.url(p) for p in paths], workers=2, stderr=other_end, backoff="10min")
        os.close(other_end)
        seen = b""
        while not all(re.search(rb"s  waits for attempt 2  http://127.0.0.1:\d+" + p.encode(), seen) for p in paths):
            seen += os.read(terminal, 10_000)
        process.send_signal(signal.SIGINT)
        self.finish(process, 128 + signal.SIGINT)
        self.assertTrue(self.read_rest(terminal).endswith("interrupted: 2 URLs were not fetched\r\n"))

    def test_narrow_terminal(self):
        for width in (1, 2, 20):
            self.watch([f"/gate/{i}" for i in range(3)], width=width, workers=3)

    def test_low_terminal(self):
        for height in (2, 3, 6):
            pictures = self.watch([f"/gate/{i}" for i in range(8)], height=height, workers=8)
            if height > 2:
                self.assertEqual(pictures[0][-1], f"     and {8 - (height - 3)} more workers")

    def test_url_with_other_characters(self):
        self.watch(["/gate/\u00fc"], until=rb"/gate/\?\?\r\n", workers=1)


if __name__ == "__main__":
    programs.main()
