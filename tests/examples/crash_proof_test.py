"""crash_proof: every program gets its verdict, whatever the others do, and nothing is left behind."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios

sys.dont_write_bytecode = True
import programs  # noqa: E402

# A crash must stay one: the sanitizers would make a report and an exit of it. Nor would they let ThreadSanitizer wait a
# second for more races at the end of each process.
for name in ("ASAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS"):
    os.environ[name] = ":".join(filter(None, [os.environ.get(name), "handle_segv=0:handle_abort=0"]))
os.environ["TSAN_OPTIONS"] += ":atexit_sleep_ms=0"

HARMLESS = 'n = 0; while n < 100 { n = n + 1; } print "counted to " + n;\n'
DEEP = "print " + "(" * 200_000 + "1" + ")" * 200_000 + ";\n"
ENDLESS = "while 1 { }\n"
HUNGRY = 't = "x"; while 1 { t = t + t; }\n'
FAILING = "assert 1 == 2;\n"
MINUTES = 600_000  # in milliseconds: longer than the test


class CrashProof(programs.ProgramTest):
    def setUp(self):
        super().setUp()
        self.source = self.folder / "programs"
        self.source.mkdir()

    def write(self, **texts):
        for name, text in texts.items():
            (self.source / f"{name}.calc").write_text(text)

    def crash_proof(self, *arguments, **options):
        memory = {"memory_mb": 0} if self.is_sanitized("crash_proof") else {}  # their shadow memory is larger than any limit
        calm = {"timeout_ms": MINUTES, "retry": 0, **memory}
        return self.command("crash_proof", *arguments, source=self.source, **calm | options)

    def verdicts(self, code, **options):
        """Runs it and returns {name: (verdict, text)}, and stderr."""
        out, err = self.run_program(self.crash_proof(**options), code)
        listed, _, summary = out.rpartition("\n\n")
        found = {}
        for name, verdict, reason, printed in re.findall(
            r"^(\S+)\.calc: (done|wrong|crashed|timed out|out of memory|failed|not run)(?:: (.*))?\n((?:    .*\n)*)",
            listed + "\n", re.MULTILINE,
        ):
            found[name] = (verdict, printed.replace("    ", "") if verdict == "done" else reason)
        counts = dict(re.findall(r"^(\w[\w ]*?) +(\d+)$", summary, re.MULTILINE))
        for verdict in {verdict for verdict, _ in found.values()}:
            self.assertEqual(int(counts.pop(verdict)), [v for v, _ in found.values()].count(verdict))
        self.assertTrue(all(count == "0" for count in counts.values()), counts)
        self.assertRegex(summary, r"seconds +\d+\.\d{3}\n$")
        return found, err


class Verdicts(CrashProof):
    def test_harmless_programs_are_done(self):
        self.write(a=HARMLESS, b='print 2 * (3 + 4) - -1; print "no" * 2;\n', c="")
        found, err = self.verdicts(0)
        self.assertEqual(found, {"a": ("done", "counted to 100\n"), "b": ("done", "15\nnono\n"), "c": ("done", "")})
        self.assertEqual(err, "")

    def test_what_the_language_means(self):
        cases = {
            "1 + 2 * 3 - 4": "3", "(1 + 2) * 3": "9", "7 / 2": "3", "-7 % 3": "-1", "2 < 3": "1", "3 < 2": "0",
            "1 == 1 == 1": "1", '"a" == "a"': "1", '"a" + 1': "a1", '1 + "a"': "1a", '"ab" * 3': "ababab",
            "--3": "3", "9223372036854775807": "9223372036854775807", "5 / -1": "-5", "5 % -1": "0", '"" * 5 + 1': "1",
        }
        self.write(all="".join(f"print {expression};  # {expression}\n" for expression in cases))
        self.write(ways="i = 0; if i { print 1; } while i < 3 { i = i + 1; if i == 2 { print i; } }\n")
        found, _ = self.verdicts(0)
        self.assertEqual(found["all"][1].splitlines(), list(cases.values()))
        self.assertEqual(found["ways"][1], "2\n")

    def test_what_is_wrong_is_said(self):
        cases = {
            "print 1": "line 1: ';' is missing before the end of the program",
            "\n\nprint n;": "line 3: there is no variable 'n'",
            "print 1 / 0;": "line 1: division by zero",
            "print 9223372036854775808;": "line 1: a number is too large",
            "print 9223372036854775807 + 1;": "line 1: a number is too large",
            "print (-9223372036854775807 - 1) / -1;": "line 1: a number is too large",
            'print "a" - 1;': "line 1: a text is no number",
            'print "a': "line 1: a text is not closed",
            "print (1;": "line 1: ')' is missing before ';'",
            "while 0 { print 1;": "line 1: '}' is missing before the end of the program",
            "if 1 print 2;": "line 1: '{' is missing before 'print'",
            "= 3;": "line 1: a value or a name is missing before '='",
            "n = $;": "line 1: a program has no such character: '$'",
            'while 1 { print "x" * 1000; i = 2 / (1000 < 2); }': "line 1: division by zero",
            'i = 0; while i < 2000 { i = i + 1; print "x" * 1000; }': "it prints more than a million bytes",
        }
        for number, text in enumerate(cases):
            self.write(**{f"{number:02}": text})
        found, _ = self.verdicts(1)
        self.assertEqual(list(found.values()), [("wrong", reason) for reason in cases.values()])

    def test_each_crash_is_named_and_costs_nobody_else_anything(self):
        self.write(deep=DEEP, failing=FAILING, wrong="print;", **{f"harmless{i:02}": HARMLESS for i in range(40)})
        for workers in (1, 2, 5):
            found, _ = self.verdicts(1, workers=workers)
            self.assertEqual(found.pop("deep"), ("crashed", "signal 11 (Segmentation fault)"))
            self.assertEqual(found.pop("failing"), ("crashed", "signal 6 (Aborted)"))
            self.assertEqual(found.pop("wrong")[0], "wrong")
            self.assertEqual(found, {f"harmless{i:02}": ("done", "counted to 100\n") for i in range(40)})

    def test_a_program_that_hangs_is_timed_out(self):
        self.write(endless=ENDLESS, harmless=HARMLESS)
        found, _ = self.verdicts(1, timeout_ms=3000, retry=1)
        self.assertEqual(found, {"endless": ("timed out", ""), "harmless": ("done", "counted to 100\n")})

    def test_a_program_that_wants_all_memory_gets_none(self):
        if self.is_sanitized("crash_proof"):
            self.skipTest("a sanitizer's shadow memory is larger than any limit")
        self.write(hungry=HUNGRY, huge='t = "x" * 1000; t = t * 150000;', harmless=HARMLESS)
        found, _ = self.verdicts(1, memory_mb=100)
        self.assertEqual(found.pop("harmless"), ("done", "counted to 100\n"))
        self.assertEqual(found, {name: ("out of memory", "") for name in ("hungry", "huge")})
        self.write(huge='t = "x" * 1000; t = t * 150000; print "fits";')
        (self.source / "hungry.calc").unlink()
        found, _ = self.verdicts(0, memory_mb=1000)
        self.assertEqual(found["huge"], ("done", "fits\n"))

    def test_programs_that_cannot_be_read(self):
        self.write(harmless=HARMLESS)
        (self.source / "gone.calc").symlink_to("nowhere")
        found, _ = self.verdicts(1)
        self.assertEqual(found["gone"], ("failed", f"{self.source}/gone.calc: No such file or directory"))
        self.assertEqual(found["harmless"][0], "done")

    def test_output_cannot_command_a_terminal(self):
        (self.source / "evil\x1b[2J.calc").write_text('print "\x1b[2J\x07";\n')
        out, _ = self.run_program(self.crash_proof())
        self.assertTrue(out.startswith("evil?[2J.calc: done\n    ?[2J?\n\ndone "), out)

    def test_what_make_programs_makes(self):
        if self.is_sanitized("crash_proof"):
            self.skipTest("some of it wants all memory")
        other = self.folder / "other"
        for folder in (self.source, other):
            self.run_program(self.command("make_programs", output=folder, number=50))
        self.assertEqual(programs.tree(self.source), programs.tree(other))
        found, _ = self.verdicts(1, timeout_ms=10_000, memory_mb=100)
        self.assertEqual(len(found), 50)
        expected = {"harmless": "done", "deep": "crashed", "endless": "timed out", "hungry": "out of memory",
                    "failing": "crashed", "wrong": "wrong"}
        for name, (verdict, text) in found.items():
            self.assertEqual(verdict, expected[name.split("-")[1]], name)
            if verdict == "done":
                self.assertEqual(text, "{0} reaches 1 after {1} steps\n".format(*collatz(int(name.split("-")[0]) + 1)))


def collatz(first):
    n, steps = first, 0
    while n > 1:
        n, steps = 3 * n + 1 if n % 2 else n // 2, steps + 1
    return first, steps


class Process(CrashProof):
    """The program b.calc is a named pipe, so that the test decides how far the batch has come."""

    def setUp(self):
        super().setUp()
        self.write(a=HARMLESS, c=HARMLESS)
        self.pipe = self.source / "b.calc"
        os.mkfifo(self.pipe)

    def start(self, stderr=subprocess.PIPE, **options):
        """One worker: when the pipe has a reader, a is done and c is not begun."""
        process = subprocess.Popen(self.crash_proof(**{"workers": 1} | options), stdout=subprocess.PIPE, stderr=stderr)
        self.addCleanup(process.stdout.close)
        if process.stderr:
            self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def family_of(self, process):
        """The process from which workers are forked, and the worker."""
        server, = programs.children_of(process.pid)
        worker, = programs.children_of(server)
        return server, worker

    def finish(self, process, code):
        out, err = process.communicate(timeout=programs.SECONDS)
        self.assertEqual(process.returncode, code, (out, err))
        return out.decode(), (err or b"").decode()

    def feed(self, content):
        """Gives one attempt `content` to read. The next attempt will meet another pipe of the same name."""
        with self.pipe.open("w") as writer:
            os.mkfifo(self.folder / "next")
            os.rename(self.folder / "next", self.pipe)
            writer.write(content)

    def test_a_program_that_crashed_once_is_tried_again(self):
        process = self.start(retry=2)
        self.feed(FAILING)
        self.feed(DEEP)
        self.feed(HARMLESS)
        out, _ = self.finish(process, 0)
        self.assertIn("b.calc: done\n    counted to 100\n", out)

    def test_no_more_attempts_than_asked_for(self):
        process = self.start(retry=1)
        self.feed(FAILING)
        self.feed(FAILING)
        out, _ = self.finish(process, 1)
        self.assertIn("b.calc: crashed: ", out)

    def test_a_wrong_program_is_not_tried_again(self):
        process = self.start(retry=3)
        self.feed("print 1 / 0;")
        out, _ = self.finish(process, 1)
        self.assertIn("b.calc: wrong: line 1: division by zero\n", out)

    def test_a_worker_that_is_killed_from_outside(self):
        process = self.start()
        with self.pipe.open("w"):
            _, worker = self.family_of(process)
            os.kill(worker, signal.SIGKILL)
            out, _ = self.finish(process, 1)
        self.assertIn("b.calc: crashed: signal 9 (Killed)\n", out)
        self.assertEqual(out.count(": done\n"), 2)

    def test_no_worker_is_left_when_the_program_is_killed(self):
        process = self.start()
        with self.pipe.open("w"):
            family = self.family_of(process)
            process.kill()
            process.wait()
            self.eventually(lambda: not any(map(programs.runs, family)))

    def stop(self, number):
        """Starts it, and sends it a signal while it runs b. Returns it, and the pipe, when c was cancelled."""
        process = self.start()
        writer = self.pipe.open("w")
        self.addCleanup(writer.close)
        process.send_signal(number)
        while process.stderr.readline() != b" 67%  2/3 programs\n":
            pass
        return process, writer

    def test_a_signal_ends_it_in_good_order(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            process, writer = self.stop(number)
            writer.write(HARMLESS)
            writer.close()
            out, _ = self.finish(process, 128 + number)
            done = "done\n    counted to 100\n"
            self.assertTrue(out.startswith(f"a.calc: {done}b.calc: {done}c.calc: not run\n"), out)

    def test_the_second_signal_ends_it_as_usual(self):
        process, _ = self.stop(signal.SIGINT)
        family = self.family_of(process)
        process.send_signal(signal.SIGINT)
        self.finish(process, -signal.SIGINT)
        self.eventually(lambda: not any(map(programs.runs, family)))

    def test_progress_lines(self):
        process = self.start()
        with self.pipe.open("w") as writer:
            self.assertEqual(process.stderr.readline(), b" 33%  1/3 programs\n")
            writer.write(HARMLESS)
        self.finish(process, 0)

    def test_bar_on_a_terminal(self):
        for width in (100, 15):
            self.check_bar(width)

    def check_bar(self, width):
        terminal, other_end = pty.openpty()
        self.addCleanup(os.close, terminal)
        fcntl.ioctl(other_end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        os.environ["TERM"] = "xterm"
        process = self.start(stderr=other_end)
        os.close(other_end)
        seen = b""
        with self.pipe.open("w") as writer:
            while b"1/3 prog" not in seen:
                seen += os.read(terminal, 1000)
            writer.write(HARMLESS)
        self.finish(process, 0)
        while True:
            try:
                seen += os.read(terminal, 1000)
            except OSError:  # the other end is closed
                break
        frames = seen.decode().split("\r\x1b[K")
        self.assertEqual((frames[0], frames[-1]), ("", ""), "it begins with a frame and ends with an empty line")
        for frame in frames[1:-1]:
            self.assertLess(len(frame), width)
            self.assertRegex(frame, r"^\[#*\.*\] +\d+%  \d/3 programs$" if width > 50 else r"^ +\d+%  \d/3 prog")


class WrongUse(CrashProof):
    def test_command_line(self):
        out, _ = self.run_program(self.command("crash_proof", "--help"))
        for option in ("source", "workers", "timeout-ms", "memory-mb", "retry"):
            self.assertIn("--" + option, out)
        self.write(a=HARMLESS)
        self.run_program(self.command("crash_proof"), 2)
        for wrong in (
            {"workers": 0}, {"workers": "many"}, {"timeout_ms": 0}, {"memory_mb": -1}, {"retry": -1}, {"color": "blue"},
            {"source": self.folder / "nowhere"},
        ):
            out, err = self.run_program(self.command("crash_proof", **{"source": self.source} | wrong), 2)
            self.assertEqual(out, "")
            self.assertIn(next(iter(wrong)).replace("_", "-"), err)

    def test_folder_without_programs(self):
        (self.source / "notes.txt").touch()
        (self.source / ".hidden.calc").touch()
        (self.source / "folder.calc").mkdir()
        out, err = self.run_program(self.crash_proof(), 2)
        self.assertEqual((out, err), ("", f"crash_proof: {self.source}: there are no programs (*.calc)\n"))

    def test_programs_that_cannot_be_made(self):
        (self.folder / "file").touch()
        _, err = self.run_program(self.command("make_programs", output=self.folder / "file"), 1)
        self.assertRegex(err, "^make_programs: .*file")
        self.run_program(self.command("make_programs", output=self.source, number=0), 2)


if __name__ == "__main__":
    programs.main()
