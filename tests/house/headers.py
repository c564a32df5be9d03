"""Proves that headers compile alone, twice, and in translation units that are linked, without any warning.

Usage: headers.py INCLUDE_DIR [together] [HEADER…] -- COMPILER FLAG…

Each header has a unit of its own; after the word "together" all share one, but for the long form, with CONC_LONG in the
environment. One more unit includes all of them twice, below function-like macros min and max; the
standard headers that conc uses come before these macros, so that only conc's own text meets them. All units are linked.
Without a HEADER it is all of them; those of the explorer are a program apart, with CONC_EXPLORE, and those of the event loop
too, which always share one unit but for the long form.
"""

import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.dont_write_bytecode = True
from floors import EVENT_LOOP, EXPLORER, FLOORS

HOSTILE = """#define min(a, b) min_is_a_macro
#define max(a, b) max_is_a_macro
"""


def system_headers(root: Path) -> str:
    names = set()
    for path in root.rglob("*.hpp"):
        names |= set(re.findall(r"^\s*#\s*include\s*<([^>]+)>", path.read_text(), flags=re.MULTILINE))
    return "".join(
        f"#if __has_include(<{name}>)\n#include <{name}>\n#endif\n" for name in sorted(names) if not name.startswith("conc/"))


def links(root: Path, headers: list[str], together: bool, command: list[str]) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "program")

        def compiles(number: int, text: str) -> bool:
            unit = Path(folder, f"{number}.cpp")
            unit.write_text(text)
            return subprocess.run([*command, "-c", str(unit), "-o", str(unit.with_suffix(".o"))]).returncode == 0

        includes = [f"#include <conc/{header}>\n" for header in headers]
        first = ["".join(includes)] if together else includes
        units = [*first, system_headers(root) + HOSTILE + "".join(includes) * 2 + "int main() {}\n"]
        with ThreadPoolExecutor(max((os.cpu_count() or 1) // 2, 1)) as pool:  # the other half is for another compiler
            good = list(pool.map(compiles, range(len(units)), units))
        for unit in (unit for unit, compiled in zip(first, good) if not compiled):
            print(f"{unit}does not compile")
        if not good[-1]:
            print("not all of them stand min() and max() that are macros")
        objects = [str(path) for path in Path(folder).glob("*.o")]
        return all(good) and subprocess.run([*command, *objects, "-pthread", "-o", str(program)]).returncode == 0 and (
            subprocess.run([str(program)]).returncode == 0)


def main() -> int:
    root, separator = Path(sys.argv[1]), sys.argv.index("--")
    first = 3 if sys.argv[2] == "together" else 2
    command = [*sys.argv[separator + 1:], "-std=c++20", f"-I{root}"]
    everything = sorted(path.relative_to(root / "conc").as_posix() for path in (root / "conc").rglob("*.hpp"))
    headers = sys.argv[first:separator] or everything
    headers = [header for header in headers if FLOORS.get(header, 0) >= 0]  # a backend is a part of detail/sync.hpp
    explorer = [header for header in headers if FLOORS.get(header, 0) >= EXPLORER]
    event_loop = [header for header in headers if EVENT_LOOP <= FLOORS.get(header, 0) < EXPLORER]
    others = [header for header in headers if header not in explorer and header not in event_loop]
    long = "CONC_LONG" in os.environ
    together = first == 3
    good = bool(headers)
    for group, flags, shared in ((others, [], together), (explorer, ["-DCONC_EXPLORE"], together),
                                 (event_loop, ["-DASIO_HAS_CO_AWAIT=1"], True)):
        good = (not group or links(root, group, shared and not long, [*command, *flags])) and good
    print(f"{len(headers)} headers")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
