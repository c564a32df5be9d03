"""Proves that one header compiles alone, twice, and in two linked translation units, without any warning.

Usage: header.py INCLUDE_DIR HEADER -- COMPILER FLAG…

The second unit includes the header twice, below function-like macros min and max; the standard headers that conc uses
come before these macros, so that only conc's own text meets them.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
from floors import EXPLORER, FLOORS

HOSTILE = """#define min(a, b) min_is_a_macro
#define max(a, b) max_is_a_macro
"""


def system_headers(root: Path) -> str:
    names = set()
    for path in root.rglob("*.hpp"):
        names |= set(re.findall(r"^\s*#\s*include\s*<([^>]+)>", path.read_text(), flags=re.MULTILINE))
    return "".join(
        f"#if __has_include(<{name}>)\n#include <{name}>\n#endif\n" for name in sorted(names) if not name.startswith("conc/"))


def main() -> int:
    root, header = Path(sys.argv[1]), sys.argv[2]
    compile_command = sys.argv[sys.argv.index("--") + 1:] + ["-std=c++20", f"-I{root}"]
    if FLOORS.get(header, 0) >= EXPLORER:
        compile_command.append("-DCONC_EXPLORE")
    include = f"#include <conc/{header}>\n"
    with tempfile.TemporaryDirectory() as scratch:
        alone, twice = Path(scratch, "alone.cpp"), Path(scratch, "twice.cpp")
        alone.write_text(include + "int main() {}\n")
        twice.write_text(system_headers(root) + HOSTILE + include + include)
        program = Path(scratch, "program")
        done = subprocess.run([*compile_command, str(alone), str(twice), "-pthread", "-o", str(program)])
        return done.returncode or subprocess.run([str(program)]).returncode


if __name__ == "__main__":
    sys.exit(main())
