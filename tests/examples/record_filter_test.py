"""record_filter: the output is right for any number of workers, and everything that is wrong is said and survived.

What workers have to do with is tested with threads and a queue, with a thread pool, and with a process pool.
"""

import fcntl
import os
import pty
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
import time

sys.dont_write_bytecode = True
import programs  # noqa: E402
import record_format as fmt  # noqa: E402

KEPT, OTHER = 0xFEDCBA9876543210, 7


def numbered(count, first=0):
    """Messages of which every third is to be kept."""
    return [fmt.message(KEPT if i % 3 == 0 else OTHER, b"file %d" % i) for i in range(first, first + count)]


def wanted(messages):
    return [m for m in messages if fmt.parse(m)[1] == KEPT]


class RecordFilter(programs.ProgramTest):
    form = ()  # or ("--pool",), ("--processes",)

    def setUp(self):
        super().setUp()
        self.source, self.output = self.folder / "source", self.folder / "output"
        self.source.mkdir()
        self.csv = self.folder / "ids.csv"
        self.csv.write_text(f"group_id\n{KEPT}\n")

    def write(self, name, content):
        """A file below the source folder: a list of messages, or the very bytes."""
        path = self.source / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else fmt.frame(fmt.pack(content)))
        return path

    def filter_command(self, **options):
        folders = {"source": self.source, "output": self.output, "csv": self.csv}
        return self.command("record_filter", *self.form, **folders | options)

    def filter(self, code=0, settings=None, **options):
        """Runs it and returns the numbers that it prints, and stderr."""
        out, err = self.run_program(self.filter_command(**options), code, **(settings or {}))
        numbers = {name: float(value) for name, value in (line.split() for line in out.splitlines())}
        return {"threads" if name == "processes" else name: value for name, value in numbers.items()}, err

    def assert_filtered(self, *names, output=None):
        """`names` are the record files of the output, filtered rightly, and nothing else is there."""
        output = output or self.output
        found = programs.tree(output)
        folders = {name.split("/")[0] for name in names}
        self.assertEqual(set(found), {os.fsencode(n) for n in (*names, *folders)})
        for name in names:
            self.assertEqual(fmt.read_messages(output / name), wanted(fmt.read_messages(self.source / name)), name)


class Output(RecordFilter):
    def test_real_records_any_number_of_threads(self):
        self.source /= "made"
        make = self.command("make_records", source="/usr/include/linux", output=self.source, folders=7, files=3)
        self.run_program(make)
        options = {"csv": self.source / "groups.csv", "column": "group_id"}
        serial, _ = self.filter(threads=1, **options)

        kept = set()
        with open(options["csv"], encoding="utf-8") as file:
            kept = {int(line.split(",")[0], 0) for line in list(file)[1:]}
        total = 0
        for path in sorted(self.source.glob("*/*.sz")):
            messages = [m for m in fmt.read_messages(path) if fmt.parse(m)[1] in kept]
            self.assertEqual(fmt.read_messages(self.output / path.relative_to(self.source)), messages)
            total += len(messages)
        self.assertGreater(total, 0)
        self.assertEqual((serial["kept"], serial["files"], serial["folders"]), (total, 21, 7))
        self.assertGreater(serial["records"], total)

        expected = programs.tree(self.output)
        for threads in (None, 2, 3, 50):
            self.output = self.folder / f"output{threads}"
            numbers, err = self.filter(**options, **({"threads": threads} if threads else {}))
            self.assertEqual(err, "")
            self.assertEqual(programs.tree(self.output), expected)
            self.assertEqual([numbers[n] for n in ("records", "kept")], [serial[n] for n in ("records", "kept")])
            self.assertLessEqual(numbers["threads"], min(threads or len(os.sched_getaffinity(0)), 7))

    def test_many_small_folders_and_many_threads(self):
        names = [f"folder {i}/records.sz" for i in range(200)]
        for i, name in enumerate(names):
            self.write(name, numbered(i % 7, first=i))
        numbers, err = self.filter(threads=32)
        self.assertEqual(err, "")
        self.assertEqual(numbers["folders"], 200)
        if self.form:
            self.assertTrue(1 <= numbers["threads"] <= 32, "a pool starts a worker only when none is idle")
        else:
            self.assertEqual(numbers["threads"], 32)
        self.assert_filtered(*names)

    def test_fewer_threads_do_when_the_system_gives_no_more(self):
        settings = self.as_ordinary_user()
        if not settings:
            self.skipTest("only root can become a user who has no threads yet")
        # Pipes that nobody writes to yet: no worker can end, and make room for another one, before all are asked for.
        names = [f"folder {i:02}/records.sz" for i in range(20)]
        for name in names:
            (self.source / name).parent.mkdir(parents=True)
            os.mkfifo(self.source / name)
        most = 12 if "--processes" in self.form else 6  # a pool of processes has some for itself
        settings["preexec_fn"] = lambda: resource.setrlimit(resource.RLIMIT_NPROC, (most, most))
        process = subprocess.Popen(
            self.filter_command(threads=20), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **settings
        )
        self.addCleanup(process.kill)
        workers = "[1-9]"  # a pool says nothing: it might have needed no more
        if not self.form:
            complaint = process.stderr.readline()
            self.assertRegex(complaint, r"^record_filter: only [2345] threads: .*Resource temporarily unavailable\n$")
            workers = re.search("[2345]", complaint).group()
        for name in names:
            (self.source / name).write_bytes(fmt.frame(fmt.pack(numbered(10))))
        out, err = process.communicate(timeout=programs.SECONDS)
        self.assertEqual((process.returncode, err), (0, ""))
        self.assertRegex(out, rf"(threads|processes) +{workers}\n")
        for name in names:
            self.assertEqual(fmt.read_messages(self.output / name), wanted(numbered(10)), name)

    def test_records_of_every_size_cross_chunks(self):
        sizes = [0, 1, 65_535, 65_536, 65_537, 200_000]
        self.write("a/x.sz", [fmt.message(KEPT, b"p" * size) for size in sizes])
        # A record and its length that fill a chunk to the last byte.
        filler = fmt.message(KEPT, b"p" * (65_536 - 8 - len(fmt.message(KEPT, b"p" * 65_000)) + 65_000))
        self.assertEqual(len(fmt.pack([filler])), 65_536)
        self.write("a/y.sz", [filler, filler, fmt.message(OTHER)])
        self.filter()
        self.assert_filtered("a/x.sz", "a/y.sz")

    def test_every_kind_of_chunk_the_format_allows(self):
        first, second = fmt.pack(numbered(10)), fmt.pack(numbered(10, first=10))
        self.write(
            "a/x.sz",
            fmt.frame(first[:5]) + fmt.data_chunk(b"") + fmt.chunk(0xFE, b"\0" * 1000) + fmt.chunk(0x80, b"whatever")
            + fmt.chunk(0xFD, b"") + fmt.data_chunk(first[5:]) + fmt.IDENTIFIER + fmt.data_chunk(second),
        )
        numbers, _ = self.filter()
        self.assertEqual((numbers["records"], numbers["kept"]), (20, 7))
        self.assert_filtered("a/x.sz")

    def test_files_without_records_and_names_that_do_not_count(self):
        self.write("a/empty.sz", [])
        self.write("a/none kept.sz", [fmt.message(OTHER)])
        self.write("a/notes.txt", b"no record file")
        self.write(".hidden/x.sz", b"not looked at")
        (self.source / "a" / "folder.sz").mkdir()
        (self.source / "groups.csv").write_text("a file beside the folders")
        numbers, _ = self.filter()
        self.assertEqual((numbers["folders"], numbers["files"], numbers["records"], numbers["kept"]), (1, 2, 1, 0))
        self.assert_filtered("a/empty.sz", "a/none kept.sz")

    def test_unknown_fields_are_kept_as_they_are(self):
        self.write("a/x.sz", [fmt.message(KEPT) + b"\x9a\x06\x03new" + b"\x18\x05"])
        self.filter()
        self.assert_filtered("a/x.sz")

    def test_memory_does_not_follow_the_size_of_the_files(self):
        tree = self.folder / "tree"
        tree.mkdir()
        for i in range(100):
            (tree / f"file {i}").write_text("x")

        def peak(repeat):
            self.source, self.output = self.folder / f"source{repeat}", self.folder / f"output{repeat}"
            self.run_program(self.command("make_records", source=tree, output=self.source, folders=1, repeat=repeat))
            command = self.filter_command(csv=self.source / "groups.csv", threads=1)
            # AddressSanitizer would hold on to memory that the program has given back.
            environment = {**os.environ, "ASAN_OPTIONS": "quarantine_size_mb=0:thread_local_quarantine_size_kb=0"}
            settings = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
            with subprocess.Popen(command, **settings) as process:
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
            self.assertEqual(process.returncode, 0)
            return usage.ru_maxrss * 1024

        small, large = peak(10), peak(5000)
        size = 5000 * 100 * len(fmt.pack([fmt.message(KEPT, b"file 1")]))
        self.assertLess(large - small, size / 4)


class Damage(RecordFilter):
    """One folder is bad, its neighbours are good."""

    GOOD = ("a/x.sz", "c/x.sz")

    def check(self, content, reason, name="b/x.sz"):
        for good in self.GOOD:
            self.write(good, numbered(100))
        self.write("b/w.sz", numbered(5))
        self.write(name, content)
        for threads in (1, 3):
            self.output = self.folder / f"output{threads}"
            numbers, err = self.filter(code=1, threads=threads, retry=1)
            self.assertRegex(err, rf"(?m)^record_filter: b failed: .*{re.escape(name)}: .*{reason}.*\(attempt 2\)$")
            self.assertEqual(err.count("failed"), 1)
            self.assertEqual((numbers["folders"], numbers["failed"], numbers["records"]), (2, 1, 200))
            self.assert_filtered(*self.GOOD)

    def test_empty_file(self):
        self.check(b"", "no snappy stream identifier")

    def test_other_kind_of_file(self):
        self.check(b"group_id,name\n1,x\n", "no snappy stream identifier")

    def test_damaged_identifier(self):
        self.check(b"\xff\x06\x00\x00sNaPpy", "stream identifier is damaged")

    def test_damaged_identifier_later(self):
        self.check(fmt.frame(b"") + b"\xff\x05\x00\x00sNaPp", "chunk at byte 10: the stream identifier is damaged")

    def test_flipped_bit(self):
        content = bytearray(fmt.frame(fmt.pack(numbered(10))))
        content[100] ^= 1
        self.check(bytes(content), "chunk at byte 10: its checksum does not match")

    def test_flipped_bit_in_the_checksum(self):
        content = bytearray(fmt.frame(fmt.pack(numbered(10))))
        content[14] ^= 1
        self.check(bytes(content), "chunk at byte 10: its checksum does not match")

    def test_chunk_cut_off(self):
        content = fmt.frame(fmt.pack(numbered(10)))
        self.check(content[:-1], "chunk at byte 10: it should hold .* bytes, but the file ends after")

    def test_chunk_header_cut_off(self):
        self.check(fmt.frame(fmt.pack(numbered(10))) + b"\x01\x00", "cut off within its header")

    def test_chunk_without_checksum(self):
        self.check(fmt.IDENTIFIER + fmt.chunk(0x01, b"abc"), "too short for a checksum")

    def test_unknown_chunk(self):
        self.check(fmt.IDENTIFIER + fmt.chunk(0x7F, b"abc"), "its type 127 is unknown")

    def test_oversized_chunk(self):
        self.check(fmt.IDENTIFIER + fmt.data_chunk(b"x" * 65_537), "it holds 65537 bytes")

    def test_oversized_compressed_chunk(self):
        body = fmt.varint(2**32 - 1) + b"x"
        self.check(fmt.IDENTIFIER + fmt.chunk(0x00, b"1234" + body), "it holds 4294967295 bytes")

    def test_nonsense_instead_of_compressed_data(self):
        self.check(fmt.IDENTIFIER + fmt.chunk(0x00, b"1234" + fmt.varint(50) + b"\xff" * 20), "cannot be uncompressed")

    def test_compressed_data_without_a_size(self):
        self.check(fmt.IDENTIFIER + fmt.chunk(0x00, b"1234\xff\xff\xff\xff\xff\xff"), "cannot be uncompressed")

    def test_length_beyond_the_end(self):
        record = fmt.message(KEPT)
        content = fmt.frame(fmt.pack([record]) + struct.pack("<Q", 1_000_000_000) + record)
        self.check(content, rf"record 2: it should hold 1000000000 bytes, but the file ends after {len(record)}")

    def test_impossible_length(self):
        self.check(fmt.frame(struct.pack("<Q", 2**64 - 1) + b"x"), "record 1: its length of 18446744073709551615 bytes")

    def test_file_ends_within_a_length(self):
        self.check(fmt.frame(fmt.pack(numbered(10)) + b"\0\0\0"), "record 11: the file ends within its length")

    def test_nonsense_instead_of_a_message(self):
        self.check([fmt.message(KEPT), b"\xff\xff\xff"], "record 2: it is not a protobuf message")

    def test_message_without_group_id(self):
        self.check([b"\x12\x03abc"], "record 1: it has no group id")

    def test_empty_message(self):
        self.check([b""], "record 1: it has no group id")

    def test_damage_at_the_end_of_a_long_file(self):
        self.check(fmt.frame(fmt.pack(numbered(20_000))) + b"\x01", "cut off within its header")

    def test_link_to_nowhere(self):
        (self.source / "b").mkdir()
        (self.source / "b" / "x.sz").symlink_to("nowhere")
        for good in self.GOOD:
            self.write(good, numbered(100))
        _, err = self.filter(code=1, retry=0)
        self.assertRegex(err, r"^record_filter: b failed: .*b/x.sz: No such file or directory\n$")
        self.assert_filtered(*self.GOOD)

    def test_empty_folder(self):
        (self.source / "b").mkdir()
        for good in self.GOOD:
            self.write(good, numbered(100))
        _, err = self.filter(code=1, retry=0)
        self.assertRegex(err, r"^record_filter: b failed: .*/b: there are no record files \(\*\.sz\)\n$")
        self.assert_filtered(*self.GOOD)

    def test_folder_that_may_not_be_read(self):
        settings = self.as_ordinary_user()
        for name in (*self.GOOD, "b/x.sz"):
            self.write(name, numbered(10))
        (self.source / "b").chmod(0)
        self.addCleanup((self.source / "b").chmod, 0o700)
        _, err = self.filter(code=1, settings=settings)
        self.assertRegex(err, r"^record_filter: b failed: .*Permission denied.*/b\"?\]? \(attempt 3\)\n$")
        self.assert_filtered(*self.GOOD)

    def test_output_that_may_not_be_written(self):
        settings = self.as_ordinary_user()
        self.write("a/x.sz", numbered(10))
        self.output.mkdir()
        self.output.chmod(0o555)
        _, err = self.filter(code=1, settings=settings)
        self.assertRegex(err, "^record_filter: a failed: .*Permission denied.*\\.a\\.partial")
        self.assertEqual(programs.tree(self.output), {})

    def test_all_folders_fail(self):
        for name in ("a", "b", "c"):
            self.write(f"{name}/x.sz", b"")
        numbers, err = self.filter(code=1)
        self.assertEqual(numbers["failed"], 3)
        self.assertEqual(re.findall(r"record_filter: (\w) failed", err), ["a", "b", "c"])
        self.assertEqual(programs.tree(self.output), {})

    def test_output_that_cannot_be_written(self):
        big = [fmt.message(KEPT, os.urandom(1000)) for _ in range(1000)]
        self.write("a/x.sz", numbered(10))
        self.write("b/x.sz", big)

        def limit_file_size():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

        settings = {"preexec_fn": limit_file_size, "restore_signals": False}
        _, err = self.filter(code=1, settings=settings)
        self.assertRegex(err, r"^record_filter: b failed: .*x\.sz: File too large \(attempt 3\)\n$")
        self.assert_filtered("a/x.sz")


class Csv(RecordFilter):
    def setUp(self):
        super().setUp()
        self.write("a/x.sz", [fmt.message(i) for i in (1, 2, 3, 2**64 - 1)])

    def kept(self, text, **options):
        self.csv.write_bytes(text.encode())
        self.filter(**options)
        kept = [fmt.parse(m)[1] for m in fmt.read_messages(self.output / "a/x.sz")]
        shutil.rmtree(self.output)
        return kept

    def test_ways_to_write_it(self):
        self.assertEqual(self.kept("group_id\n1\n3\n"), [1, 3])
        self.assertEqual(self.kept("group_id\n1\n3"), [1, 3])
        self.assertEqual(self.kept("\ufeffgroup_id\r\n1\r\n\r\n3\r\n"), [1, 3])
        self.assertEqual(self.kept('name,group_id\n"a, ""b""\n1",0x2\nc, 3 \n'), [2, 3])
        self.assertEqual(self.kept(' "x" ,"group_id"\n1,"2"\n'), [2])
        self.assertEqual(self.kept("group_id\n0xFFFFffffFFFFffff\n18446744073709551615\n1\n1\n"), [1, 2**64 - 1])
        self.assertEqual(self.kept("group_id,key\n1,2\n", column="key"), [2])
        self.assertEqual(self.kept("group_id\n"), [])
        self.assertEqual(self.kept("group_id," + "x" * 100_000 + "\n3,1\n"), [3])

    def refused(self, text, reason, **options):
        self.csv.write_bytes(text.encode())
        _, err = self.filter(code=2, **options)
        self.assertRegex(err, rf"^record_filter: .*ids\.csv: {reason}\n$")
        self.assertFalse(self.output.exists())

    def test_what_is_wrong_with_it(self):
        self.refused("id,name\n1,x\n", "line 1: there is no column 'group_id', only: id, name")
        self.refused("group_id\n1\n", "line 1: there is no column 'key', only: group_id", column="key")
        self.refused("", "line 1: the file is empty; .*")
        self.refused("group_id\n1\nx\n", "line 3: 'x' in column 'group_id' is no group id")
        self.refused("group_id\n-1\n", "line 2: '-1' .*")
        self.refused("group_id\n0x\n", "line 2: '0x' .*")
        self.refused("group_id\n1.5\n", "line 2: '1.5' .*")
        self.refused("group_id\n18446744073709551616\n", "line 2: '18446744073709551616' .*")
        self.refused("a,group_id\n1,2\n\n3\n", "line 4: there is no column 'group_id' in this row")
        self.refused("a,group_id\n\"1\n2\",\n", "line 2: '' in column 'group_id' is no group id")
        self.refused('group_id\n"1\n', "line 2: a quote is not closed")
        self.refused('group_id\n"1"2\n', "line 2: text after a closing quote")


class WrongUse(RecordFilter):
    def refused(self, reason, **options):
        _, err = self.run_program(self.filter_command(**options), 2)
        self.assertIn(reason, err)

    def test_command_line(self):
        self.write("a/x.sz", [])
        self.run_program(self.command("record_filter"), 2)
        out, _ = self.run_program(self.command("record_filter", "--help"))
        for option in ("source", "output", "csv", "column", "threads", "pool", "processes", "retry", "records-per-progress"):
            self.assertIn("--" + option, out)
        self.refused("--threads", threads=0)
        self.refused("--threads", threads="many")
        self.refused("--retry", retry=-1)
        self.refused("--records-per-progress", records_per_progress=0)
        self.refused("nowhere", source=self.folder / "nowhere")
        self.refused("nowhere", csv=self.folder / "nowhere")
        self.refused("ids.csv", source=self.csv)
        self.refused("--color", color="blue")
        self.form = ("--pool", "--processes")
        self.refused("--pool excludes --processes")
        self.assertFalse(self.output.exists())

    def test_source_without_folders(self):
        (self.source / "x.sz").write_bytes(fmt.frame(b""))
        self.refused("there are no folders in it")

    def test_output_in_the_wrong_place(self):
        self.write("a/x.sz", [])
        before = programs.tree(self.source)
        self.refused("must not be the source folder", output=self.source)
        self.refused("must not be the source folder", output=self.source / "new")
        self.refused("must not be the source folder", output=self.source / "a" / ".." / "new")
        self.refused("is not empty (it holds source)", output=self.folder, csv=self.move_csv())
        self.refused("Not a directory", output=self.csv / "new")
        self.assertEqual(programs.tree(self.source), before)

    def move_csv(self):
        place = self.folder.parent / (self.folder.name + ".csv")
        self.csv = self.csv.rename(place)
        self.addCleanup(place.unlink)
        return place

    def test_output_must_be_empty(self):
        self.write("a/x.sz", numbered(10))
        self.filter()
        before = programs.tree(self.output)
        self.refused("is not empty (it holds a)")
        self.assertEqual(programs.tree(self.output), before)


DAMAGED = fmt.frame(fmt.pack(numbered(10))) + fmt.chunk(0x7F, b"")


class Process(RecordFilter):
    """The record file b/x.sz is a named pipe, so that the test decides how far the program has come."""

    def setUp(self):
        super().setUp()
        self.write("a/x.sz", numbered(10))
        self.write("c/x.sz", numbered(10))
        (self.source / "b").mkdir()
        self.pipe = self.source / "b" / "x.sz"
        os.mkfifo(self.pipe)

    def start(self, stderr=subprocess.PIPE, **options):
        """One thread: when the pipe has a reader, folder a is done and c is not begun."""
        command = self.filter_command(**{"threads": 1} | options)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr)
        self.addCleanup(process.stdout.close)
        if process.stderr:
            self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def finish(self, process, code):
        out, err = process.communicate(timeout=programs.SECONDS)
        self.assertEqual(process.returncode, code, (out, err))
        return out.decode(), (err or b"").decode()

    def feed(self, content):
        """Gives one attempt `content` to read. The next attempt will meet another pipe of the same name."""
        with self.pipe.open("wb") as writer:
            os.mkfifo(self.folder / "next")
            os.rename(self.folder / "next", self.pipe)
            writer.write(content)

    def test_retry_starts_the_folder_anew(self):
        process = self.start(retry=2)
        self.feed(DAMAGED)
        self.feed(DAMAGED)
        self.feed(fmt.frame(fmt.pack(numbered(6))))
        out, err = self.finish(process, 0)
        self.assertEqual(err, "", "success at the last attempt is success")
        self.assertRegex(out, r"records +26\nkept +10\n")
        self.assertEqual(fmt.read_messages(self.output / "b/x.sz"), wanted(numbered(6)))

    def test_no_more_attempts_than_asked_for(self):
        process = self.start(retry=1)
        self.feed(DAMAGED)
        self.feed(DAMAGED)
        out, err = self.finish(process, 1)
        self.assertIn("b failed", err)
        self.assertIn("(attempt 2)", err)
        self.assertRegex(out, r"records +20\n")
        self.assertEqual({"a", "c"}, set(os.listdir(self.output)))

    def test_progress_lines_count_no_record_twice(self):
        process = self.start(retry=1, records_per_progress=1)
        self.feed(DAMAGED)
        with self.pipe.open("wb", buffering=0) as writer:
            writer.write(fmt.frame(fmt.pack(numbered(30))))
            line = b""
            while b"40 records" not in line:  # 10 of folder a, 30 of this one
                line = process.stderr.readline()
                self.assertRegex(line, rb"^ *\d+%  1/3 folders  (10|[1-4]\d) records  [\d,]+/s(  \d+:\d\d left)?\n$")
                self.assertLessEqual(int(line.split(b" records")[0].split()[-1]), 40)
        self.finish(process, 0)

    def test_no_more_than_one_progress_line_a_second(self):
        started = time.monotonic()
        process = self.start(records_per_progress=1)
        lines = threading.Thread(target=lambda: [process.stderr.readline() for _ in range(3)])
        with self.pipe.open("wb", buffering=0) as writer:
            writer.write(fmt.frame(b""))
            lines.start()
            while lines.is_alive():
                writer.write(fmt.data_chunk(fmt.pack(numbered(1))))
        lines.join()
        self.assertGreaterEqual(time.monotonic() - started, 3)
        self.finish(process, 0)

    def test_killed_process_leaves_nothing_half_done_under_a_final_name(self):
        process = self.start()
        with self.pipe.open("wb", buffering=0) as writer:
            writer.write(fmt.frame(fmt.pack(numbered(1000))))
            process.kill()
            self.finish(process, -signal.SIGKILL)
        self.assertEqual({"a", ".b.partial"}, set(os.listdir(self.output)))
        self.assertEqual(fmt.read_messages(self.output / "a/x.sz"), wanted(numbered(10)))

    def test_what_lies_in_the_place_of_unfinished_output_does_not_get_into_it(self):
        process = self.start()
        with self.pipe.open("wb") as writer:
            (self.output / ".c.partial").mkdir()
            (self.output / ".c.partial" / "left over.sz").write_text("from a run that was killed")
            writer.write(fmt.frame(b""))
        self.finish(process, 0)
        self.assertEqual(os.listdir(self.output / "c"), ["x.sz"])

    def check_stopped_by(self, number):
        process = self.start()
        with self.pipe.open("wb", buffering=0) as writer:
            writer.write(fmt.frame(b""))
            process.send_signal(number)
            with self.assertRaises(BrokenPipeError):
                while True:
                    writer.write(fmt.data_chunk(fmt.pack(numbered(100))))
        _, err = self.finish(process, 128 + number)
        self.assertEqual(err, "record_filter: b failed: was interrupted\nrecord_filter: c failed: was interrupted\n")
        self.assert_filtered("a/x.sz")

    def test_interrupt_from_the_keyboard(self):
        self.check_stopped_by(signal.SIGINT)

    def test_polite_request_to_end(self):
        self.check_stopped_by(signal.SIGTERM)

    def check_bar(self, width):
        terminal, other_end = pty.openpty()
        self.addCleanup(os.close, terminal)
        fcntl.ioctl(other_end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        os.environ["TERM"] = "xterm"
        process = self.start(stderr=other_end, records_per_progress=10)
        os.close(other_end)
        seen = b""
        with self.pipe.open("wb", buffering=0) as writer:
            writer.write(fmt.frame(fmt.pack(numbered(1230))))
            while b" 1,240 records" not in seen and (width > 30 or seen.count(b"\r") < 5):
                seen += os.read(terminal, 1000)
        self.finish(process, 0)
        while True:
            try:
                seen += os.read(terminal, 1000)
            except OSError:  # the other end is closed
                break
        frames = seen.decode().split("\r\x1b[K")
        self.assertEqual((frames[0], frames[-1]), ("", ""), "it begins with a frame and ends with an empty line")
        for frame in frames:
            self.assertLess(len(frame), width)
            self.assertNotIn("\n", frame)
        return frames[1:-1]

    def test_bar_on_a_terminal(self):
        frames = self.check_bar(width=100)
        for frame in frames:
            self.assertRegex(frame, r"^\[#*\.*\] +\d+%  \d/3 folders  [\d,]+ records  [\d,]+/s(  \d+:\d\d left)?$")
        self.assertIn("#", frames[-1])

    def test_bar_on_a_narrow_terminal(self):
        self.check_bar(width=20)


class OutputOfThePool(Output):
    form = ("--pool",)


class DamageInThePool(Damage):
    form = ("--pool",)


class ProcessWithThePool(Process):
    form = ("--pool",)


class OutputOfProcesses(Output):
    form = ("--processes",)


class DamageInProcesses(Damage):
    form = ("--processes",)

    def test_output_that_cannot_be_written(self):
        """What signals a program ignores its workers do not: here it costs the worker its life, three times."""
        self.write("a/x.sz", numbered(10))
        self.write("b/x.sz", [fmt.message(KEPT, os.urandom(1000)) for _ in range(1000)])
        settings = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))}
        for threads in (1, 2):
            self.output = self.folder / f"output{threads}"
            _, err = self.filter(code=1, settings=settings, threads=threads)
            self.assertRegex(err, r"^record_filter: b failed: .* was killed by signal 25 \(SIGXFSZ\) .*\n$")
            self.assertEqual(set(os.listdir(self.output)), {"a", ".b.partial"})
            self.assertEqual(fmt.read_messages(self.output / "a/x.sz"), wanted(numbered(10)))


class ProcessWithProcesses(Process):
    form = ("--processes",)

    def kill_worker(self, process):
        """The one that reads the pipe: somebody has it open."""
        with self.pipe.open("wb"):
            server, = programs.children_of(process.pid)
            worker, = programs.children_of(server)
            os.mkfifo(self.folder / "next")
            os.rename(self.folder / "next", self.pipe)
            os.kill(worker, signal.SIGKILL)
        return worker

    def test_a_worker_that_is_killed_costs_its_folder(self):
        process = self.start(retry=0)
        worker = self.kill_worker(process)
        _, err = self.finish(process, 1)
        self.assertRegex(
            err, rf"^record_filter: b failed: .*worker process {worker} was killed by signal 9 \(SIGKILL\) .*\n$")
        self.assertEqual({"a", "c", ".b.partial"}, set(os.listdir(self.output)))

    def test_the_folder_of_a_worker_that_is_killed_is_started_anew(self):
        process = self.start(retry=1)
        self.kill_worker(process)
        self.feed(fmt.frame(fmt.pack(numbered(6))))
        out, err = self.finish(process, 0)
        self.assertEqual(err, "")
        self.assertRegex(out, r"records +26\nkept +10\n")
        self.assertEqual({"a", "b", "c"}, set(os.listdir(self.output)))

    def test_no_worker_is_left_when_the_program_is_killed(self):
        process = self.start()
        with self.pipe.open("wb"):
            server, = programs.children_of(process.pid)
            family = [server, *programs.children_of(server)]
            self.assertEqual(len(family), 2)
            process.kill()
            process.wait()
            self.eventually(lambda: not any(map(programs.runs, family)))


class Forms(RecordFilter):
    """One thread, threads with a queue, and pools do the same, byte for byte."""

    def outcome(self, number, form, threads, code):
        self.form, self.output = form, self.folder / f"output{number}"
        out, err = self.run_program(self.filter_command(threads=threads, retry=1), code)
        lines = [line for line in out.splitlines() if line.split()[0] not in ("threads", "processes", "seconds", "records/s")]
        return lines, err, programs.tree(self.output)

    def check_same(self, code):
        first = self.outcome(0, (), 1, code)
        pools = [((form,), threads) for form in ("--pool", "--processes") for threads in (1, 4, 100)]
        for number, (form, threads) in enumerate([((), 4), *pools], 1):
            self.assertEqual(self.outcome(number, form, threads, code), first)
        return first

    def test_all_folders_are_good(self):
        for i in range(40):
            self.write(f"folder {i}/records.sz", numbered(i * 10, first=i))
        lines, err, tree = self.check_same(0)
        self.assertEqual((lines[:3], err), (["folders    40", "failed     0", "files      40"], ""))
        self.assertEqual(len(tree), 80)

    def test_some_folders_fail(self):
        for i in range(40):
            content = numbered(i * 10, first=i)
            self.write(f"folder {i}/records.sz", b"damaged" if i % 4 == 1 else content)
        lines, err, tree = self.check_same(1)
        self.assertEqual(lines[:3], ["folders    30", "failed     10", "files      30"])
        self.assertEqual(err.count("(attempt 2)"), 10)
        self.assertEqual(len(tree), 60)


if __name__ == "__main__":
    programs.main()
