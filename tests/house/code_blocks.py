"""Compiles and runs every C++ program in the pages of this repository. Usage: code_blocks.py ROOT CXX

A ```cpp block is a program with a main(). What is none is an error, but for docs/from_python.md, whose rows are the
matter of from_python.py. The command printed below a program builds and runs it, with the warnings added, and with what
README.md says that clang must be told for the event loop:

    g++ -std=c++20 -Iinclude program.cpp -o program -pthread && ./program      # prints 5050

A line below that, or below its output, runs it once more with something in the environment; the output is then the same
but for the first line:

    CONC_REPLAY=c1-1-a3b-33c129f0 ./program      # ends with 1

It must end with 0, or as the page says ("# ends with 1"), and print what the page says: "# prints 5050", all of it; or
the lines of a ```text block below the program, in this order, "..." being the others. Only 0x17, an address or an
offset in somebody's machine code, may be another number.
"""

import os
import re
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wsign-conversion", "-Werror"]
CLANG_WARNINGS = ["-Wthread-safety"]
CLANG_COROUTINES = ["-DASIO_HAS_CO_AWAIT=1"]  # README.md says so
PAGES = ["*.md", "docs/**/*.md", "bench/*.md", "examples/*/*.md"]
ROWS = "from_python.md"
LANGUAGES = {"", "cpp", "python", "text"}
COMMAND = re.compile(r"^    (g\+\+ .*?) && \./(\S+)(?: +# (.*))?$", flags=re.MULTILINE)
AGAIN = re.compile(r"^    ((?:[A-Z_]+=\S+ )+)\./(\S+)(?: +# (.*))?$", flags=re.MULTILINE)
LONGEST_RUN = 120  # seconds


class PageError(Exception):
    pass


@dataclass
class Block:
    language: str
    heading: str  # the one it stands below
    line: int  # of its first line of text
    text: str
    before: str  # what stands between the block before and this one
    after: str = ""  # what stands between this block and the next one


def blocks(page: str) -> list[Block]:
    """All fenced blocks of a page."""
    found, between, heading, inside = [], "", "", None
    for number, line in enumerate(page.splitlines(keepends=True), 1):
        if inside is not None:
            if line.rstrip() == "```":
                found.append(inside)
                inside = None
            elif line.startswith("```"):
                raise PageError(f"line {number}: a block begins within a block")
            else:
                inside.text += line
            continue
        if line.lstrip().startswith("```"):
            language = line.strip()[3:]
            if not line.startswith("```") or language not in LANGUAGES:
                raise PageError(f"line {number}: {line.strip()!r}: no test knows such a block")
            inside = Block(language, heading, number + 1, "", between)
            between = ""
        else:
            if re.match(r"\s*#\s*include\b", line):
                raise PageError(f"line {number}: C++ stands in a ```cpp block")
            if line.startswith("#"):
                heading = line.strip("# \n")
            between += line
        if found:
            found[-1].after += line if inside is None else ""
    if inside is not None:
        raise PageError(f"line {inside.line - 1}: the block has no end")
    return found


def missing_line(promised: str, printed: str) -> str | None:
    """The first line of `promised` that is not in `printed`, in its place."""
    exact = lambda line: re.sub(r"\b0x[0-9a-f]+", "0x…", line.strip())
    left = iter([exact(line) for line in printed.splitlines()])
    for line in promised.splitlines():
        if line.strip() != "..." and exact(line) not in left:  # looks on from where it stopped
            return line
    return None


def flags_for(text: str, compiler: str) -> list[str]:
    """What has to be said to a compiler for a program."""
    return CLANG_COROUTINES if "clang" in compiler and "<conc/event_loop.hpp>" in text else []


def run_program(folder: Path, compiler: str, program: Block, output: Block | None) -> str | None:
    """Builds and runs a program in `folder`, where include/ is. Returns what is wrong."""
    command = COMMAND.search(program.after)
    build = shlex.split(command[1] if command else "g++ -std=c++20 program.cpp -o program -pthread")
    name = build[build.index("-o") + 1] if "-o" in build else ""
    if command and command[2] != name:
        return f"the command builds {name!r} and runs {command[2]!r}"
    source = next(word for word in build if word.endswith(".cpp"))
    (folder / source).write_text(program.text)
    more = [*WARNINGS, *(CLANG_WARNINGS if "clang" in compiler else []), *flags_for(program.text, compiler)]
    done = subprocess.run([compiler, *build[1:], *more, "-Iinclude"], cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        return done.stderr
    text = output.text if output else ""
    problem = run(folder, name, {}, command[3] or "" if command else "", text)
    for again in AGAIN.finditer(program.after + (output.after if output else "")):
        if again[2] != name:
            return f"{again[2]!r} is run again, but the program is {name!r}"
        variables = dict(word.split("=", 1) for word in again[1].split())
        problem = problem or run(folder, name, variables, again[3] or "", text.partition("\n")[2])
    return problem


def run(folder: Path, name: str, variables: dict[str, str], promise: str, output: str) -> str | None:
    """Runs a program that is built. Returns what is wrong."""
    done = subprocess.run([f"./{name}"], cwd=folder, env={**os.environ, **variables}, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=LONGEST_RUN)
    status, prints = re.search(r"\bends with (\d+)", promise), re.search(r"\bprints (.+)", promise)
    if promise and not (status or prints):
        return f"a promise that nobody can test: {promise!r}"
    if done.returncode != (int(status[1]) if status else 0):
        return f"ended with {done.returncode}:\n{done.stdout}"
    if prints and done.stdout.strip() != prints[1].strip():
        return f"printed {done.stdout!r}, not {prints[1]}"
    missing = missing_line(output, done.stdout)
    return f"did not print, or not in its place: {missing}\nbut:\n{done.stdout}" if missing else None


def check_page(path: Path, folder: Path, compiler: str) -> tuple[int, list[str]]:
    """How many programs a page has, and what is wrong with it."""
    programs, wrong = 0, []
    found = blocks(path.read_text())
    for block, following in zip(found, [*found[1:], None]):
        if path.name == ROWS:
            continue
        if block.language == "python":
            wrong.append(f"line {block.line}: Python outside of {ROWS}")
        if block.language != "cpp":
            continue
        if not re.search(r"^int main\(", block.text, flags=re.MULTILINE):
            wrong.append(f"line {block.line}: neither a program with a main() nor a row of {ROWS}")
            continue
        programs += 1
        shown = following is not None and following.language == "text" and following.heading == block.heading
        problem = run_program(folder, compiler, block, following if shown else None)
        if problem:
            wrong.append(f"line {block.line}: {problem}")
    return programs, wrong


def main() -> int:
    root, compiler = Path(sys.argv[1]).resolve(), sys.argv[2]
    programs = failed = 0
    for path in [path for pages in PAGES for path in sorted(root.glob(pages))]:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "include").symlink_to(root / "include")
            try:
                count, wrong = check_page(path, folder, compiler)
            except PageError as error:
                count, wrong = 0, [str(error)]
        programs += count
        failed += len(wrong)
        for problem in wrong:
            print(f"{path.relative_to(root)}, {problem}")
    print(f"{programs} programs, {failed} failed")
    return 1 if failed or programs == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
