"""What the tests of the example programs share: running a program, and a folder that goes away afterwards."""

import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

SECONDS = 120  # a program that takes longer hangs
NOBODY = 1_000_000 + 2 * os.getpid()  # a user who runs nothing else, not even for another test


def fail_for_time(*_):
    raise TimeoutError("the test takes too long")


def tree(folder):
    """Everything below `folder`: its files with their content, its folders with None."""
    return {
        os.fsencode(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(Path(folder).rglob("*"))
    }


def build_settings(program):
    """The CMake variables of the build that made `program`."""
    cache = next(p / "CMakeCache.txt" for p in Path(program).resolve().parents if (p / "CMakeCache.txt").exists())
    lines = [line for line in cache.read_text().splitlines() if "=" in line and not line.startswith(("#", "//"))]
    return {line.split(":", 1)[0]: line.split("=", 1)[1] for line in lines}


def status_of(process):
    """What the system says of a process: its state, its parent …; nothing if there is none."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def runs(process):
    return status_of(process)[:1] not in ([], ["Z"])


def processor_time(process):
    """The seconds for which a process has run so far; it must not have ended."""
    return sum(map(int, status_of(process)[11:13])) / os.sysconf("SC_CLK_TCK")


def children_of(process):
    return [int(f.name) for f in Path("/proc").glob("[0-9]*") if status_of(f.name)[1:2] == [str(process)]]


class ProgramTest(unittest.TestCase):
    """Programs, and what else a test is told, are given on the command line as NAME=VALUE."""

    programs = {}
    seconds = 2 * SECONDS  # for one test

    def setUp(self):
        signal.signal(signal.SIGALRM, fail_for_time)
        signal.alarm(self.seconds)
        self.addCleanup(signal.alarm, 0)
        self._folder = tempfile.TemporaryDirectory(prefix="conc-")
        self.addCleanup(self._folder.cleanup)
        self.folder = Path(self._folder.name)

    def as_ordinary_user(self):
        """Settings for run_program that make permissions count, which root does not heed."""
        if os.geteuid() != 0:
            return {}
        os.chmod(self.folder, 0o777)
        try:
            for program in self.programs.values():
                # Another user: what these programs leave to init for a moment would count.
                subprocess.run([program, "--help"], stdout=subprocess.DEVNULL, check=True, user=NOBODY + 1)
        except PermissionError:
            self.skipTest("only root may run the programs where they lie")
        return {"user": NOBODY}

    def is_sanitized(self, program):
        return bool(build_settings(self.programs[program]).get("CONC_SANITIZE"))

    def command(self, program, *arguments, **options):
        """program --key value …"""
        command = [self.programs[program], *map(str, arguments)]
        for name, value in options.items():
            command += ["--" + name.replace("_", "-"), str(value)]
        return command

    def eventually(self, condition):
        """Returns what condition() says once it says something: about another process, which tells no event of its own.
        The test's own limit bounds it.
        """
        while not (said := condition()):
            time.sleep(0.001)
        return said

    def run_program(self, command, code=0, **settings):
        """Runs it, checks the exit code, and returns what it printed: (stdout, stderr)."""
        done = subprocess.run(command, capture_output=True, timeout=self.seconds / 2, check=False, **settings)
        out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        self.assertEqual(done.returncode, code, f"{command}\n{out}\n{err}")
        return out, err


def main():
    for argument in [a for a in sys.argv[1:] if "=" in a]:
        name, path = argument.split("=", 1)
        ProgramTest.programs[name] = path
        sys.argv.remove(argument)
    unittest.main(verbosity=2)
