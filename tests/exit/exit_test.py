"""Runs a program and compares what it does with what the comments at the top of its source say.

Usage: exit_test.py SOURCE -- PROGRAM ARGUMENT…

  // stdout: a line that it prints; these are all, in order
  // stderr: words that are in what it writes there; without such a comment it writes nothing there
  // status: its exit status, 0 if not said; -6 for the signal 6
"""

import subprocess
import sys
from pathlib import Path


def main() -> int:
    dashes = sys.argv.index("--")
    said = {"stdout": [], "stderr": [], "status": []}
    for line in Path(sys.argv[1]).read_text().splitlines():
        for key, values in said.items():
            if line.startswith(f"// {key}: "):
                values.append(line.removeprefix(f"// {key}: "))
    done = subprocess.run(sys.argv[dashes + 1:], capture_output=True, text=True)
    print(done.stdout, done.stderr, sep="\n")
    failures = []
    if done.stdout.splitlines() != said["stdout"]:
        failures.append(f"stdout should be: {said['stdout']}")
    if done.stderr and not said["stderr"]:
        failures.append("stderr should be empty")
    failures += [f"stderr should contain: {words}" for words in said["stderr"] if words not in done.stderr]
    if done.returncode != int(said["status"][0] if said["status"] else 0):
        failures.append(f"the exit status is {done.returncode}")
    print("\n".join(failures))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
