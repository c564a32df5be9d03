"""make_records: the records of a small tree are what the tree says, and bad input is refused."""

import csv
import os
import sys

sys.dont_write_bytecode = True
import programs  # noqa: E402
import record_format as fmt  # noqa: E402

FILES = {
    b"top.h": b"int top;\n",
    b"empty": b"",
    b"a/one.h": b"1" * 1000,
    b"a/two.h": b"2" * 70_000,
    b"a/b/three.h": b"3",
    b'b, "quoted"\nname/four.h': b"4",
    "grün/fünf.h".encode(): b"5",
    b"h/six.h": b"6",
    b"not utf-8 \xff\xfe/seven.h": b"7",
}


class MakeRecords(programs.ProgramTest):
    def setUp(self):
        super().setUp()
        self.source = self.folder / "source"
        for i, (name, content) in enumerate(sorted(FILES.items())):
            path = os.fsencode(self.source) + b"/" + name
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(content)
            os.utime(path, ns=(0, 1_600_000_000_123_456_789 + i))
        os.symlink("top.h", self.source / "link.h")
        os.symlink("a", self.source / "linked_folder")

    def make(self, output, code=0, settings=None, **options):
        command = self.command("make_records", source=self.source, output=output, **options)
        return self.run_program(command, code, **(settings or {}))

    def expected(self):
        """The fields of every record, in the order of the paths."""
        records = []
        for i, (name, content) in enumerate(sorted(FILES.items())):
            modified = 1_600_000_000_123_456_789 + i
            group_id = fmt.fnv1a(os.path.dirname(name))
            fields = {1: group_id, 2: name, 3: len(content), 4: modified, 5: fmt.fnv1a(content)}
            records.append({number: value for number, value in fields.items() if value != 0})
        return records

    def test_records_are_what_the_tree_says(self):
        out, err = self.make(self.folder / "out", folders=2, files=2)
        self.assertEqual(err, "")
        self.assertIn("records  9\n", out)
        expected = self.expected()
        for k in range(4):
            name = f"folder-{k // 2:04}/records-{k % 2:04}.sz"
            records = [fmt.parse(m) for m in fmt.read_messages(self.folder / "out" / name)]
            self.assertEqual(records, expected[k::4], name)
        self.assertEqual(
            sorted(os.listdir(self.folder / "out")), ["folder-0000", "folder-0001", "groups.csv"]
        )

    def test_csv_holds_every_third_directory(self):
        self.make(self.folder / "out")
        directories = sorted({os.path.dirname(name) for name in FILES})
        with open(self.folder / "out" / "groups.csv", newline="", errors="surrogateescape") as file:
            rows = list(csv.DictReader(file))
        self.assertEqual([os.fsencode(row["directory"]) for row in rows], directories[::3])
        self.assertEqual([int(row["group_id"], 0) for row in rows], [fmt.fnv1a(d) for d in directories[::3]])
        counts = [sum(os.path.dirname(name) == d for name in FILES) for d in directories[::3]]
        self.assertEqual([int(row["files"]) for row in rows], counts)

    def test_same_tree_gives_same_files(self):
        self.make(self.folder / "one")
        self.make(self.folder / "two")
        self.assertEqual(programs.tree(self.folder / "one"), programs.tree(self.folder / "two"))

    def test_more_folders_than_records_and_own_csv(self):
        self.make(self.folder / "out", folders=20, files=1, csv=self.folder / "ids.csv")
        counts = [len(fmt.read_messages(f)) for f in sorted((self.folder / "out").glob("*/*.sz"))]
        self.assertEqual(counts, [1] * 9 + [0] * 11)
        self.assertTrue((self.folder / "ids.csv").exists())
        self.assertFalse((self.folder / "out" / "groups.csv").exists())

    def test_repeat_repeats_every_record(self):
        self.make(self.folder / "out", folders=1, files=1, repeat=3)
        records = [fmt.parse(m) for m in fmt.read_messages(self.folder / "out/folder-0000/records-0000.sz")]
        self.assertEqual(records, self.expected() * 3)

    def test_files_are_compressed(self):
        self.make(self.folder / "out", folders=1, files=1, repeat=100)
        file = self.folder / "out/folder-0000/records-0000.sz"
        self.assertLess(file.stat().st_size, len(fmt.pack(fmt.read_messages(file))) / 4)

    def test_unreadable_file_is_reported_and_the_others_count(self):
        settings = self.as_ordinary_user()
        os.chmod(self.source / "top.h", 0)
        _, err = self.make(self.folder / "out", folders=1, files=1, code=1, settings=settings)
        self.assertIn("top.h: Permission denied", err)
        self.assertEqual(len(fmt.read_messages(self.folder / "out/folder-0000/records-0000.sz")), 8)

    def test_wrong_use(self):
        self.run_program(self.command("make_records"), 2)
        out, _ = self.run_program(self.command("make_records", "--help"), 0)
        self.assertIn("--repeat", out)
        self.make(self.folder / "out", folders=0, code=2)
        self.source = self.folder / "missing"
        _, err = self.make(self.folder / "out", code=2)
        self.assertIn("missing", err)
        self.source.mkdir()
        _, err = self.make(self.folder / "out", code=2)
        self.assertIn("there are no files", err)

    def test_output_must_be_empty(self):
        (self.folder / "out").mkdir()
        (self.folder / "out" / "precious").write_text("mine")
        _, err = self.make(self.folder / "out", code=2)
        self.assertIn("is not empty (it holds precious)", err)
        self.assertEqual(programs.tree(self.folder / "out"), {b"precious": b"mine"})

    def test_output_that_cannot_be_made(self):
        (self.folder / "file").write_text("")
        _, err = self.make(self.folder / "file" / "out", code=2)
        self.assertIn("Not a directory", err)
        _, err = self.make(self.folder / "out", csv=self.folder / "nowhere" / "ids.csv", code=1)
        self.assertIn("nowhere/ids.csv: No such file or directory", err)


if __name__ == "__main__":
    programs.main()
