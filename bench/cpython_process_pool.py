#!/usr/bin/env python3
"""What CPython's ProcessPoolExecutor takes for the rows of process_pool_bench that it can be asked for.

Usage: bench/cpython_process_pool.py [--rounds N] [--tasks N] [--small] [--filter REGEX]

Prints JSON: {"python": "CPython 3.11.2", "figures": {who: {row: [ns, ...]}}}, one figure per round. `who` is cpython,
whose workers are forked, as is the default on Linux, or cpython_forkserver. Rows that end with #peak are no times: how
much more memory both processes have had at most, in payloads; the payload that the caller has counts. Nothing is
pinned. Tasks take an int and return it.
"""

import argparse
import concurrent.futures
import json
import multiprocessing
import os
import platform
import re
import time

METHODS = {"cpython": "fork", "cpython_forkserver": "forkserver"}
KIB = (64, 1_024, 16_384, 262_144)
WATCHED_KIB = 262_144  # smaller ones are too quick for a look at the memory


def same(value):
    return value


def refuse(value):
    raise IndexError(f"no value {value}")


def length_of(payload):
    return len(payload)


def payload_of(size):
    return b"x" * size


def ns_since(begin):
    return time.perf_counter_ns() - begin


def round_trip(pool, rounds):
    begin = time.perf_counter_ns()
    for i in range(rounds):
        pool.submit(same, i).result()
    return ns_since(begin) / rounds


def tasks(pool, count):
    begin = time.perf_counter_ns()
    futures = [pool.submit(same, i) for i in range(count)]
    total = sum(future.result() for future in futures)
    assert total == count * (count - 1) // 2
    return ns_since(begin) / count


def throws(pool, count):
    begin = time.perf_counter_ns()
    futures = [pool.submit(refuse, i) for i in range(count)]
    caught = 0
    for future in futures:
        try:
            future.result()
        except IndexError:
            caught += 1
    assert caught == count
    return ns_since(begin) / count


def mapped(pool, items, chunk):
    begin = time.perf_counter_ns()
    total = sum(pool.map(same, range(items), chunksize=chunk))
    assert total == items * (items - 1) // 2
    return ns_since(begin) / items


def start_and_stop(workers, method):
    begin = time.perf_counter_ns()
    with concurrent.futures.ProcessPoolExecutor(workers, multiprocessing.get_context(method)) as pool:
        assert pool.submit(same, 1).result() == 1
    return ns_since(begin)


def resident(pids):
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
            total += int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    return total


def watch(pids, peak, stop):
    while not stop.is_set():
        peak.value = max(peak.value, resident(pids))
        time.sleep(0.001)


def memory_peak(pids, work):
    """How much more memory the processes have had at most than before, and what work() returns. Another process looks
    every millisecond: a thread would not get the interpreter lock."""
    context = multiprocessing.get_context("fork")
    before = resident(pids)
    peak = context.Value("q", before)
    stop = context.Event()
    watcher = context.Process(target=watch, args=(pids, peak, stop))
    watcher.start()
    result = work()
    stop.set()
    watcher.join()
    return max(peak.value, resident(pids)) - before, result


def send(pool, size):
    payload = payload_of(size)
    begin = time.perf_counter_ns()
    assert pool.submit(length_of, payload).result() == size
    return ns_since(begin)


def fetch(pool, size):
    begin = time.perf_counter_ns()
    assert len(pool.submit(payload_of, size).result()) == size
    return ns_since(begin)


def echo(pool, size):
    payload = payload_of(size)
    begin = time.perf_counter_ns()
    assert len(pool.submit(same, payload).result()) == size
    return ns_since(begin)


class Figures:
    """Measures the rows that are wanted, `rounds` times each."""

    def __init__(self, options):
        self.options = options
        self.of = {who: {} for who in METHODS}

    def measure(self, who, row, figures):
        """Notes what figures() gives: {suffix of the row: figure}, or the ns alone."""
        if not re.search(self.options.filter, f"BM_{row}".replace("/", f"/{who}/", 1)):
            return
        for _ in range(self.options.rounds):
            found = figures()
            for suffix, figure in found.items() if isinstance(found, dict) else (("", found),):
                self.of[who].setdefault(row + suffix, []).append(figure)


def measure_tasks(figures, who, method, workers, count):
    with concurrent.futures.ProcessPoolExecutor(workers, multiprocessing.get_context(method)) as pool:
        tasks(pool, 100)
        figures.measure(who, f"ProcessPool_round_trip/workers:{workers}", lambda: round_trip(pool, count // 20))
        figures.measure(who, f"ProcessPool_tasks/workers:{workers}", lambda: tasks(pool, count))
        figures.measure(who, f"ProcessPool_throws/workers:{workers}", lambda: throws(pool, count // 10))
        for chunk in (1, 100, 1_000):
            figures.measure(who, f"ProcessPool_map/workers:{workers}/chunk:{chunk}",
                            lambda: mapped(pool, count * (1 if chunk == 1 else 10), chunk))


def measure_starts(figures, who, method, small):
    for workers, mib in ((1, 0), (2, 0), (4, 0), (4, 2_048)):
        if not (small and mib):
            resident_memory = payload_of(mib << 20)
            figures.measure(who, f"ProcessPool_start/workers:{workers}/resident_MiB:{mib}",
                            lambda: start_and_stop(workers, method))
            del resident_memory


def measure_transfers(figures, who, method, small):
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
        pids = (os.getpid(), pool.submit(os.getpid).result())
        for kib in KIB[:1] if small else KIB:
            size = kib << 10

            def timed(transfer):
                if kib < WATCHED_KIB:
                    return transfer(pool, size)
                peak, ns = memory_peak(pids, lambda: transfer(pool, size))
                return {"": ns, "#peak": peak / size}

            for transfer in (send, fetch, echo):
                figures.measure(who, f"ProcessPool_{transfer.__name__}/KiB:{kib}", lambda: timed(transfer))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often each row is measured (default 5)")
    parser.add_argument("--tasks", type=int, default=20_000, help="tasks per round (default 20000)")
    parser.add_argument("--small", action="store_true", help="no rows that need much memory")
    parser.add_argument("--filter", default=".", help="only rows that match, as BM_<operation>/<who>/<axes>")
    options = parser.parse_args()
    figures = Figures(options)
    for who, method in METHODS.items():
        for workers in (1, 2, 4):
            measure_tasks(figures, who, method, workers, options.tasks)
        measure_starts(figures, who, method, options.small)
        measure_transfers(figures, who, method, options.small)
    print(json.dumps({"python": f"{platform.python_implementation()} {platform.python_version()}",
                      "figures": figures.of}))


if __name__ == "__main__":
    main()
