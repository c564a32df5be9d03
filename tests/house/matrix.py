"""Proves that conc works with one compiler, one standard library and one version of C++, without any warning.

Usage: matrix.py INCLUDE_DIR look|run -- COMPILER FLAG…

All public headers must compile together, and smoke.cpp below them, which uses them; with "run" it must also say that all
is well. Likewise smoke_explored.cpp, which uses testing.hpp, where the flags say -DCONC_EXPLORE. In the long form, with
CONC_LONG in the environment, they are always run, and every header must compile alone; what is run otherwise too is also
run under ThreadSanitizer.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
from floors import EVENT_LOOP, EXPLORER, FLOORS

HERE = Path(__file__).parent


def main() -> int:
    root, how, long_form = Path(sys.argv[1]), sys.argv[2], "CONC_LONG" in os.environ
    compiler = [*sys.argv[sys.argv.index("--") + 1:], f"-I{root}", "-DASIO_HAS_CO_AWAIT=1"]  # for clang, as CMake's target has it
    libraries = [flag for flag in compiler if flag.startswith("-l")]  # again below the source, where the linker wants them
    explores = "-DCONC_EXPLORE" in compiler
    smoke = HERE / ("smoke_explored.cpp" if explores else "smoke.cpp")
    headers = {path.relative_to(root / "conc").as_posix() for path in (root / "conc").rglob("*.hpp")}
    headers = sorted(header for header in headers if FLOORS.get(header, 0) >= 0)  # a backend is a part of detail/sync.hpp
    # Sockets and the system's timers cannot be explored.
    lowest, highest = (EVENT_LOOP, EXPLORER) if explores else (EXPLORER, float("inf"))
    headers = [header for header in headers if not lowest <= FLOORS.get(header, 0) < highest]
    failed = []

    with tempfile.TemporaryDirectory() as scratch:
        source, program = Path(scratch, "source.cpp"), Path(scratch, "program")

        def compiles(included, rest, *flags):
            source.write_text("".join(f"#include <conc/{header}>\n" for header in included) + rest)
            return subprocess.run([*compiler, str(source), *flags, *libraries]).returncode == 0

        def works(*flags):
            public = [header for header in headers if "/" not in header]
            return (compiles(public, f'#include "{smoke}"\n', *flags) and
                    ("-o" not in flags or subprocess.run([str(program)]).returncode == 0))

        build = ["-pthread", "-o", str(program)]
        if not works(*(build if how == "run" or long_form else ["-fsyntax-only"])):
            failed.append(f"all headers, and {smoke.name}")
        if long_form:
            failed += [f"{header} alone" for header in headers if not compiles([header], "", "-fsyntax-only")]
            if how == "run" and not explores and not works(*build, "-O1", "-g", "-fsanitize=thread"):
                failed.append(f"{smoke.name} under ThreadSanitizer")
    print("\n".join(f"failed: {what}" for what in failed) or f"{len(headers)} headers are fine")
    return 1 if failed or not headers else 0


if __name__ == "__main__":
    sys.exit(main())
