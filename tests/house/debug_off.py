"""Proves that CONC_DEBUG leaves nothing behind where it is off. Usage: debug_off.py INCLUDE_DIR -- COMPILER FLAG…

Compiles debug_off.cpp optimized: without CONC_DEBUG no symbol of the lock graph is defined, called or referred to, and
the locks have their size; with it the symbols are there, or this test would see nothing. (That the instructions of
Lock are those of a lock written by hand is shown by bench/lock_codegen.)
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).resolve().parent / "debug_off.cpp"
SIZES = "static_assert(sizeof(conc::Lock) == 4 && sizeof(conc::RLock) == 16 && sizeof(conc::RWLock) == 24);"
MARKS = re.compile(r"lock_graph|LockGraph|Tracker|CallStack|lock_hook|backtrace|\bmalloc\b|Untracked")


def symbols(compiler, include_dir, folder, source, *flags):
    target = Path(folder) / "object.o"
    command = [*compiler, "-std=c++20", "-O2", f"-I{include_dir}", *flags, "-x", "c++", "-c", "-", "-o", str(target)]
    subprocess.run(command, input=source, text=True, check=True)
    return subprocess.run(["nm", "-C", str(target)], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()


def main() -> int:
    dashes = sys.argv.index("--")
    compiler = sys.argv[dashes + 1:]
    source = SOURCE.read_text()
    with tempfile.TemporaryDirectory() as folder:
        off = [line for line in symbols(compiler, sys.argv[1], folder, source + SIZES) if MARKS.search(line)]
        on = [line for line in symbols(compiler, sys.argv[1], folder, source, "-DCONC_DEBUG") if MARKS.search(line)]
    print("\n".join(off) or "nothing is left where CONC_DEBUG is off")
    if not on:
        print("with CONC_DEBUG there is nothing either: this test looks for the wrong names")
    return 1 if off or not on else 0


if __name__ == "__main__":
    sys.exit(main())
