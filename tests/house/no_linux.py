"""Proves that conc needs nothing of Linux where there is no Linux: smoke.cpp, compiled as if there were none, meets no
header of the kernel, calls no function that POSIX does not have, and finds that all is well.

Usage: no_linux.py INCLUDE_DIR COMPILER FLAG…
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

HEADERS = ("linux/futex.h", "sys/rseq.h", "sys/prctl.h", "sys/eventfd.h")
CALLS = re.compile(r"syscall|gettid|prctl|\w+_np|sched_getcpu|sched_[gs]etaffinity|__sched_cpu\w+|__rseq\w*")


def main() -> int:
    root, source = sys.argv[1], str(Path(__file__).with_name("smoke.cpp"))
    command = [*sys.argv[2:], "-std=c++20", "-U__linux__"]
    with tempfile.TemporaryDirectory() as scratch:
        for name in HEADERS:
            poisoned = Path(scratch, name)
            poisoned.parent.mkdir(exist_ok=True)
            poisoned.write_text(f'#error "<{name}> is a header of Linux"\n')
        compiled, program = Path(scratch, "program.o"), Path(scratch, "program")
        subprocess.run([*command, f"-I{scratch}", f"-I{root}", "-c", source, "-o", str(compiled)], check=True)
        listed = subprocess.run(["nm", "-u", str(compiled)], capture_output=True, text=True, check=True).stdout
        wanted = [word.split("@")[0] for word in listed.split() if word != "U"]
        if "pthread_create" not in wanted:
            print("nm lists no pthread_create: can it read the program?")
            return 1
        if linux := [name for name in wanted if CALLS.fullmatch(name)]:
            print("functions of Linux are called: " + ", ".join(linux))
            return 1
        subprocess.run([*command, str(compiled), "-pthread", "-o", str(program)], check=True)
        return subprocess.run([str(program)]).returncode


if __name__ == "__main__":
    sys.exit(main())
