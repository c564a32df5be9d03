"""Proves that a source file does not compile, and that the compiler says the right words.

Usage: compile_fail.py SOURCE -- COMPILER FLAG…

The first line of the source is the comment "// expect: words". The second one may be "// clang: FLAG…": it is about what
clang says with these flags, and the test is for clang only.
"""

import subprocess
import sys
from pathlib import Path


def main() -> int:
    source = Path(sys.argv[1])
    first_line, second_line = source.read_text().splitlines()[:2]
    flags = second_line.removeprefix("// clang: ").split() if second_line.startswith("// clang: ") else []
    command = [*sys.argv[sys.argv.index("--") + 1:], "-std=c++20", "-fsyntax-only", *flags, str(source)]
    if not first_line.startswith("// expect: "):
        print(f"{source}: the first line must be: // expect: words")
        return 1
    words = first_line.removeprefix("// expect: ").strip()
    done = subprocess.run(command, capture_output=True, text=True)
    print(done.stderr)
    if done.returncode == 0:
        print("It compiles, and must not.")
        return 1
    # The words must be in what the compiler says, not in a line of the source that it quotes.
    said = [line for line in done.stderr.splitlines() if ": error: " in line or ": note: " in line]
    if not any(words in line for line in said):
        print(f"It does not compile, but the compiler does not say: {words}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
