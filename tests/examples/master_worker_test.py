"""master_worker: counts right whether it looks or waits; its subprocesses go on without it, or end with it, as the workers
of its pool do.
"""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True
import programs  # noqa: E402

os.environ.setdefault("TSAN_OPTIONS", "atexit_sleep_ms=50")  # else each process waits a second for more races
LOOK = re.compile(r"round (\d+): (\d+) of (\d+) done")
HOUR = 3_600_000  # in milliseconds: such a worker does not end by itself


def workers_of(master):
    """The processes that `master` has started and that are workers by now: {name: number}."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            command = (folder / "cmdline").read_bytes().decode().split("\0")
        except (OSError, IndexError):
            continue  # it has ended meanwhile
        if parent == master and command[1:2] == ["worker"]:
            found[command[2].removeprefix("--name=")] = int(folder.name)
    return found


class MasterWorker(programs.ProgramTest):
    def start(self, *arguments, **options):
        """Starts it. Its stderr has its end when neither it nor any of its subprocesses run."""
        master = subprocess.Popen(self.command("master_worker", *arguments, **options), stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(master.wait)
        self.addCleanup(master.kill)
        self.addCleanup(master.stdout.close)
        self.addCleanup(master.stderr.close)
        return master

    def all_workers(self, master, count):
        """Waits until all of them run; they are killed at the end of the test."""
        workers = self.eventually(lambda: len(found := workers_of(master.pid)) == count and found)
        self.addCleanup(lambda: [os.kill(process, signal.SIGKILL) for process in workers.values() if programs.runs(process)])
        return workers

    def test_looks_who_is_alive(self):
        for form in ([], ["--pool"]):
            self.check_looks(form)

    def check_looks(self, form):
        out, err = self.run_program(
            self.command("master_worker", *form, rounds=3, workers=4, limit=100_000, least_ms=100, poll_ms=20))
        self.assertEqual(err, "")
        *lines, total = out.splitlines()
        self.assertEqual(total, "9592 primes below 100000")
        looks = [tuple(map(int, LOOK.fullmatch(line).groups())) for line in lines]
        self.assertEqual(looks, sorted(looks))
        self.assertEqual([look for look in looks if look[1] == look[2]], [(1, 4, 4), (2, 4, 4), (3, 4, 4)])
        self.assertGreater(len(looks), 3, "it looked while they ran")

    def test_waits_for_each(self):
        for form in ([], ["--pool"]):
            self.check_waits(form)

    def check_waits(self, form):
        out, err = self.run_program(
            self.command("master_worker", *form, "--wait", rounds=3, workers=4, limit=1000, least_ms=0))
        self.assertEqual(err, "")
        *lines, total = out.splitlines()
        self.assertEqual(total, "168 primes below 1000")
        self.assertEqual([line.split(", ")[0] for line in lines],
                         [f"round {r}: {n} of 4 done" for r in (1, 2, 3) for n in (1, 2, 3, 4)])
        self.assertEqual(sorted(line.split(", ")[1] for line in lines),
                         [f"worker-{r}-{n}" for r in (1, 2, 3) for n in (1, 2, 3, 4)])

    def test_ten_rounds_of_ten(self):
        for form in ([], ["--pool"]):
            out, _ = self.run_program(self.command("master_worker", *form, least_ms=0, poll_ms=1))
            self.assertTrue(out.endswith("\n78498 primes below 1000000\n"), out)
            self.assertIn("\nround 10: 10 of 10 done", out)

    def test_counts_are_right_however_they_are_divided(self):
        for limit, workers, primes in ((1000, 7, 168), (10_007, 1, 1229), (10_008, 3, 1230), (5_000_000, 2, 348_513)):
            for form in ([], ["--pool"]):
                out, _ = self.run_program(
                    self.command("master_worker", *form, "--wait", rounds=1, workers=workers, limit=limit, least_ms=0))
                self.assertTrue(out.endswith(f"\n{primes} primes below {limit}\n"), out)

    def test_the_subprocesses_go_on_when_the_master_exits(self):
        file = self.folder / "results"
        master = self.start(rounds=1, workers=4, limit=100_000, least_ms=2_000, poll_ms=10, exit_early=file)
        self.assertEqual(master.wait(), 0)
        lines = file.read_text().splitlines()
        self.assertEqual(sorted(line for line in lines if line.endswith(" started")),
                         [f"worker-1-{n} started" for n in (1, 2, 3, 4)])
        self.assertLess(len(lines), 8, "none was done within two seconds")
        out, err = master.communicate()  # until all of them have ended
        self.assertEqual((out, err), ("the master exits; its subprocesses go on\n", ""))
        results = re.findall(r"^worker-1-\d: (\d+) primes from (\d+) to (\d+)$", file.read_text(), re.MULTILINE)
        self.assertEqual(sorted(int(first) for _, first, _ in results), [0, 25_000, 50_000, 75_000])
        self.assertEqual(sum(int(count) for count, _, _ in results), 9592)

    def test_the_subprocesses_go_on_when_the_master_is_killed(self):
        master = self.start(rounds=1, workers=3, least_ms=HOUR)
        workers = self.all_workers(master, 3)
        master.kill()
        master.wait()
        self.assertTrue(all(programs.runs(process) for process in workers.values()))

    def test_the_subprocesses_end_with_the_master(self):
        for form in ([], ["--wait"]):
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
                master = self.start("--die-together", *form, rounds=1, workers=3, least_ms=HOUR)
                workers = self.all_workers(master, 3)
                master.send_signal(number)
                master.communicate()  # returns only when all of them have ended
                self.assertEqual(master.returncode, -number)
                # What a process has open is closed a moment before it is gone.
                self.eventually(lambda workers=workers: not any(map(programs.runs, workers.values())))

    def test_the_subprocesses_end_with_a_master_that_exits(self):
        file = self.folder / "results"
        master = self.start("--die-together", rounds=1, workers=3, least_ms=HOUR, poll_ms=10, exit_early=file)
        out, err = master.communicate()
        self.assertEqual((out, err), ("the master exits; its subprocesses end with it\n", ""))
        self.assertEqual(master.returncode, 0)
        self.assertEqual(sorted(file.read_text().splitlines()), [f"worker-1-{n} started" for n in (1, 2, 3)])

    def pool_of(self, master, count):
        """Waits until all workers of the pool run, and returns them and the process that has forked them."""
        def family():
            for server in programs.children_of(master.pid):
                workers = programs.children_of(server)
                if len(workers) == count:
                    return server, workers
            return None
        return self.eventually(family)

    def test_the_workers_of_the_pool_end_with_the_master(self):
        for form in ([], ["--wait"]):
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
                master = self.start("--pool", *form, rounds=1, workers=3, least_ms=HOUR)
                server, workers = self.pool_of(master, 3)
                master.send_signal(number)
                master.communicate()  # returns only when all of them have ended
                self.assertEqual(master.returncode, -number)
                self.eventually(lambda family=(server, *workers): not any(map(programs.runs, family)))

    def kill_one_of_two(self, form):
        """Kills a worker of the pool amid its work and returns it, the master, and what that has printed."""
        master = self.start("--pool", *form, rounds=1, workers=2, limit=5_000_000, least_ms=2_000, poll_ms=10)
        _, workers = self.pool_of(master, 2)
        # One that has not begun yet is replaced, and nothing is lost. To begin takes little time; the work, much more.
        self.eventually(lambda: programs.processor_time(workers[0]) >= 0.05)
        os.kill(workers[0], signal.SIGKILL)
        return workers[0], master, *master.communicate()

    def test_a_worker_of_the_pool_that_is_killed_is_noticed(self):
        for form in ([], ["--wait"]):
            worker, master, out, err = self.kill_one_of_two(form)
            self.assertEqual(master.returncode, 1)
            self.assertRegex(err, rf"^master_worker: worker-1-[12]: .*worker process {worker} was killed by signal 9 .*\n$")
            self.assertIn("round 1: 2 of 2 done", out)
            self.assertNotIn("primes below", out)

    def test_a_worker_whose_master_has_gone_does_not_begin(self):
        file = self.folder / "results"
        file.touch()
        worker = [self.programs["master_worker"], "worker", "--name=late", "--from=0", "--to=10", f"--append={file}"]
        self.run_program([*worker, "--die-with=1"], 1)
        self.assertEqual(file.read_text(), "")
        self.run_program([*worker, f"--die-with={os.getpid()}"])
        self.assertEqual(file.read_text(), "late started\nlate: 4 primes from 0 to 9\n")

    def test_a_subprocess_that_fails_is_noticed(self):
        for form in ([], ["--wait"]):
            master = self.start(*form, rounds=1, workers=2, least_ms=HOUR, poll_ms=10)
            workers = self.all_workers(master, 2)
            for process in workers.values():
                os.kill(process, signal.SIGKILL)
            out, err = master.communicate()
            self.assertEqual(master.returncode, 1)
            self.assertEqual(sorted(re.findall(r"^master_worker: (.*?): .* was killed by signal 9 \(SIGKILL\)$", err,
                                               re.MULTILINE)), ["worker-1-1", "worker-1-2"])
            self.assertIn("round 1: 2 of 2 done", out)
            self.assertNotIn("primes below", out)

    def test_results_that_cannot_be_written(self):
        missing = self.folder / "nowhere" / "results"
        out, err = self.run_program(self.command("master_worker", exit_early=missing), 1)
        self.assertEqual((out, err), ("", f"master_worker: {missing}: No such file or directory\n"))
        for unfit in ("/dev/full", self.folder):  # one could be written to, but not looked into
            _, err = self.run_program(self.command("master_worker", exit_early=unfit), 1)
            self.assertEqual(err, f"master_worker: {unfit}: not a regular file\n")

    def test_wrong_use(self):
        out, _ = self.run_program(self.command("master_worker", "--help"))
        for option in ("rounds", "workers", "limit", "least-ms", "poll-ms", "wait", "exit-early", "die-together", "pool"):
            self.assertIn("--" + option, out)
        for hidden in ("--append", "SUBCOMMAND"):  # what only the master says
            self.assertNotIn(hidden, out)
        for wrong in (
            {"rounds": 0}, {"rounds": "many"}, {"workers": 101}, {"limit": 999}, {"least_ms": -1}, {"poll_ms": 0},
            {"color": "blue"},
        ):
            out, err = self.run_program(self.command("master_worker", **wrong), 2)
            self.assertEqual(out, "")
            self.assertIn(next(iter(wrong)).replace("_", "-"), err)
        for other in ("--wait", "--pool"):
            self.run_program(self.command("master_worker", other, exit_early=self.folder / "file"), 2)
        self.run_program(self.command("master_worker", "--pool", "--die-together"), 2)
        self.assertEqual(os.listdir(self.folder), [])


if __name__ == "__main__":
    programs.main()
