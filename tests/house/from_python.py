"""Runs every row of docs/from_python.md in Python and in C++ and compares what they print.

Usage: from_python.py ROOT CXX

A row is a heading, a ```python block and a ```cpp block. The first pair of the page is what all rows begin with. The
C++ blocks are the bodies of functions of one program, which runs one row at a time. A Python block that opens with
"# Python 3.13" is skipped by older Pythons; such a row has a ```text block with what both of them print.
"""

import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

sys.dont_write_bytecode = True
from code_blocks import ROWS, WARNINGS, Block, PageError, blocks, flags_for

FEWEST_ROWS = 30
LONGEST_RUN = 60  # seconds


@dataclass
class Row:
    name: str
    python: Block
    cpp: Block
    output: str | None  # as the page shows it

    @property
    def needs(self) -> tuple[int, int]:
        """The oldest Python that can run it."""
        version = re.match(r"# Python (\d+)\.(\d+)", self.python.text)
        return (int(version[1]), int(version[2])) if version else (3, 0)


def rows_of(page: str) -> list[Row]:
    rows, found = [], blocks(page)
    while found:
        python = found.pop(0)
        cpp = found.pop(0) if found else None
        if python.language != "python" or cpp is None or cpp.language != "cpp" or cpp.before.strip():
            raise PageError(f"line {python.line}: no ```python block with a ```cpp block right below it")
        output = None
        if found and found[0].language == "text" and not found[0].before.strip():
            output = found.pop(0).text
        row = Row(python.heading, python, cpp, output)
        if row.name in (other.name for other in rows):
            raise PageError(f"line {python.line}: a second row {row.name!r}")
        if row.needs > (3, 0) and output is None:
            raise PageError(f"line {cpp.line}: a row for new Pythons only must say in a ```text block what it prints")
        rows.append(row)
    return rows


def cpp_program(beginning: Block, rows: list[Row]) -> str:
    line = lambda block: f'#line {block.line} "{ROWS}"\n'
    parts = [line(beginning), beginning.text]
    for number, row in enumerate(rows):
        parts += [f"static void row_{number}() {{\n", line(row.cpp), row.cpp.text, "}\n"]
    names = ", ".join(f"row_{number}" for number in range(len(rows)))
    parts.append(f"#include <cstdlib>\nint main(int, char** argv) {{\n  void (*const rows[])() = {{{names}}};\n"
                 "  rows[std::atoi(argv[1])]();\n}\n")
    return "".join(parts)


class RowError(Exception):
    pass


def output_of(command: list, who: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_RUN)
    except subprocess.TimeoutExpired as late:
        raise RowError(f"{who} does not end; it printed {late.stdout!r}")
    if done.returncode != 0 or done.stderr:
        raise RowError(f"{who} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    if not done.stdout.strip():
        raise RowError(f"{who} prints nothing")
    return done.stdout


def check(row: Row, number: int, beginning: Row, program: Path) -> bool:
    """Whether Python could run it, too. Raises what is wrong."""
    printed = output_of([program, str(number)], "C++")
    expected = {"the page": row.output} if row.output is not None else {}
    runs = sys.version_info[:2] >= row.needs
    if runs:
        expected["Python"] = output_of([sys.executable, "-I", "-c", beginning.python.text + row.python.text], "Python")
    for who, text in expected.items():
        if printed != text:
            raise RowError(f"C++ prints\n{printed}and {who}\n{text}")
    return runs


def main() -> int:
    root, compiler = Path(sys.argv[1]), sys.argv[2]
    try:
        beginning, *rows = rows_of((root / "docs" / ROWS).read_text())
    except PageError as error:
        print(f"{ROWS}, {error}")
        return 1
    failed = skipped = 0
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder, "rows.cpp"), Path(folder, "rows")
        source.write_text(cpp_program(beginning.cpp, rows))
        flags = [*WARNINGS, *flags_for(beginning.cpp.text, compiler), f"-I{root}/include"]
        build = [compiler, "-std=c++20", *flags, source, "-o", program, "-pthread"]
        if subprocess.run(build).returncode != 0:
            return 1
        for number, row in enumerate(rows):
            try:
                skipped += not check(row, number, beginning, program)
            except RowError as error:
                failed += 1
                print(f"{ROWS}, line {row.python.line}, {row.name}: {error}\n")
    version = ".".join(map(str, sys.version_info[:2]))
    print(f"{len(rows)} rows, {skipped} of them not in Python {version}; {failed} failed")
    if len(rows) < FEWEST_ROWS:
        print(f"fewer than {FEWEST_ROWS} rows")
    return 1 if failed or len(rows) < FEWEST_ROWS else 0


if __name__ == "__main__":
    sys.exit(main())
