"""Builds the modules of tests/exit with a compiler, and runs the programs that load them. Usage: modules.py ROOT COMPILER FLAG…

tests/exit itself does so with the compiler of the build. How modules share things depends on the compiler and on its
standard library: g++ binds inline variables of the process together by a mark of their symbols, clang does not; libc++
tells types apart by addresses.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> int:
    root, compiler = Path(sys.argv[1]), [*sys.argv[2:], "-std=c++20", "-pthread", f"-I{sys.argv[1]}/include"]
    sources = root / "tests/exit"
    failed = False
    with tempfile.TemporaryDirectory() as scratch:
        def build(source, name, *flags):
            output = Path(scratch, name)
            subprocess.run([*compiler, *flags, str(sources / source), "-o", str(output)], check=True)
            return str(output)

        hidden = ["-shared", "-fPIC", "-fvisibility=hidden", "-fvisibility-inlines-hidden"]
        modules = [build("module.cpp", "module.so", *hidden), build("plugin.cpp", "one.so", *hidden)]
        modules.append(shutil.copy(modules[-1], Path(scratch, "two.so")))
        for name in ["module_first_exit", "modules_exit"]:
            program = build(f"{name}.cpp", name, "-rdynamic")
            test = [sys.executable, sources / "exit_test.py", sources / f"{name}.cpp", "--", program, *modules]
            failed |= subprocess.run(test).returncode != 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
