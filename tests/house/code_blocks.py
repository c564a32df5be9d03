"""Compiles every C++ program in README.md and docs/, and runs the one in README. Usage: code_blocks.py ROOT CXX

A program is a ```cpp block with a main(). A block of a page on the explorer is compiled with CONC_EXPLORE. What README
says its program prints ("prints 5050") must be what it prints.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wsign-conversion", "-Werror"]


def main() -> int:
    root, compiler = Path(sys.argv[1]), sys.argv[2]
    programs = failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for page in [root / "README.md", *sorted((root / "docs").glob("*.md"))]:
            text = page.read_text()
            for number, block in enumerate(re.findall(r"^```cpp\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL), 1):
                if "int main(" not in block:
                    continue
                programs += 1
                source, program = Path(folder) / "block.cpp", Path(folder) / "block"
                source.write_text(block)
                explore = ["-DCONC_EXPLORE"] if "conc/testing.hpp" in block else []
                build = [compiler, "-std=c++20", *WARNINGS, *explore, f"-I{root}/include", source, "-o", program, "-pthread"]
                result = subprocess.run(build, capture_output=True, text=True)
                if result.returncode == 0 and page.name == "README.md":
                    result = subprocess.run([program], capture_output=True, text=True, timeout=60)
                    promised = re.search(r"prints (\S+)", text).group(1)
                    if result.stdout.strip() != promised:
                        result.returncode, result.stderr = 1, f"printed {result.stdout!r}, not {promised}"
                if result.returncode != 0:
                    failed += 1
                    print(f"{page.relative_to(root)}, block {number}:\n{result.stderr}")
    print(f"{programs} programs, {failed} failed")
    return 1 if failed or programs == 0 else 0


sys.exit(main())
