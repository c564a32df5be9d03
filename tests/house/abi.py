"""Proves that builds which must not be linked together are not: each choice of the macros that change conc's types has an
inline namespace of its own, and two translation units that chose differently do not link.

Usage: abi.py INCLUDE_DIR COMPILER
"""

import itertools
import subprocess
import sys
import tempfile
from pathlib import Path

MACROS = ("CONC_PORTABLE", "CONC_EXPLORE", "CONC_DEBUG")
CHOICES = [choice for n in range(len(MACROS) + 1) for choice in itertools.combinations(MACROS, n)]

ASKS = "#include <conc/detail/sync.hpp>\nnamespace_is CONC_ABI\n"
DEFINES = "#include <conc/lock.hpp>\nvoid take(conc::Lock& lock) { lock.acquire(); }\n"
CALLS = "#include <conc/lock.hpp>\nvoid take(conc::Lock& lock);\nint main() { conc::Lock lock; take(lock); }\n"


def main() -> int:
    root, compiler = sys.argv[1:]
    command = [compiler, "-std=c++20", f"-I{root}"]
    defines = lambda choice: [f"-D{macro}" for macro in choice]
    failures = []

    names = {}
    for choice in CHOICES:
        done = subprocess.run([*command, *defines(choice), "-E", "-P", "-x", "c++", "-"], input=ASKS, text=True,
                              capture_output=True, check=True)
        names.setdefault(done.stdout.split()[-1], []).append(choice or "none")
    failures += [f"the same namespace {name}: {choices}" for name, choices in names.items() if len(choices) > 1]

    with tempfile.TemporaryDirectory() as scratch:
        def compiled(name, text, choice):
            source, result = Path(scratch, f"{name}.cpp"), Path(scratch, f"{name}{''.join(choice)}.o")
            source.write_text(text)
            subprocess.run([*command, *defines(choice), "-c", str(source), "-o", str(result)], check=True)
            return str(result)

        def links(*objects):
            done = subprocess.run([*command, *objects, "-pthread", "-o", str(Path(scratch, "program"))], text=True,
                                  capture_output=True)
            if done.returncode != 0 and "take" not in done.stderr:
                failures.append(done.stderr)
            return done.returncode == 0

        caller = compiled("calls", CALLS, ())
        if not links(caller, compiled("defines", DEFINES, ())):
            failures.append("two translation units without any macro do not link")
        for macro in MACROS:
            if links(caller, compiled("defines", DEFINES, (macro,))):
                failures.append(f"two translation units with and without {macro} link")
    print("\n".join(failures) or "\n".join(f"{name}: {choices[0]}" for name, choices in names.items()))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
