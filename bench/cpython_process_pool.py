#!/usr/bin/env python3
"""What CPython's ProcessPoolExecutor takes for the rows of process_pool_bench that it can be asked for.

Usage: bench/cpython_process_pool.py [--rounds N] [--tasks N] [--most-kib N] [--filter REGEX]

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


def same(value):
    return value


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


def resident(pid, line):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(text.split()[1]) << 10 for text in status if text.startswith(line + ":"))


def memory_peak(pids, work):
    """How much more the processes have had at most than before, each at its worst moment, and what work() returns."""
    before = sum(resident(pid, "VmRSS") for pid in pids)
    for pid in pids:
        with open(f"/proc/{pid}/clear_refs", "w", encoding="ascii") as file:
            file.write("5")  # VmHWM starts again
    result = work()
    return sum(resident(pid, "VmHWM") for pid in pids) - before, result


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


def measure(options, wanted, add):
    for who, method in METHODS.items():
        for workers in (1, 2, 4):
            with concurrent.futures.ProcessPoolExecutor(workers, multiprocessing.get_context(method)) as pool:
                tasks(pool, 100)
                for _ in range(options.rounds):
                    if wanted(who, row := f"ProcessPool_round_trip/workers:{workers}"):
                        add(who, row, round_trip(pool, options.tasks // 20))
                    if wanted(who, row := f"ProcessPool_tasks/workers:{workers}"):
                        add(who, row, tasks(pool, options.tasks))
                    for chunk in (1, 100, 1_000):
                        if wanted(who, row := f"ProcessPool_map/workers:{workers}/chunk:{chunk}"):
                            add(who, row, mapped(pool, options.tasks * (1 if chunk == 1 else 10), chunk))
            if wanted(who, row := f"ProcessPool_start/workers:{workers}"):
                for _ in range(options.rounds):
                    add(who, row, start_and_stop(workers, method))
        with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
            pids = (os.getpid(), pool.submit(os.getpid).result())
            for kib in (kib for kib in KIB if kib <= options.most_kib):
                size = kib << 10
                for transfer in (send, fetch, echo):
                    row = f"ProcessPool_{transfer.__name__}/KiB:{kib}"
                    for _ in range(options.rounds if wanted(who, row) else 0):
                        peak, ns = memory_peak(pids, lambda: transfer(pool, size))
                        add(who, row, ns)
                        add(who, f"{row}#peak", peak / size)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often each row is measured (default 5)")
    parser.add_argument("--tasks", type=int, default=20_000, help="tasks per round (default 20000)")
    parser.add_argument("--most-kib", type=int, default=KIB[-1], help=f"the largest payload (default {KIB[-1]})")
    parser.add_argument("--filter", default=".", help="only rows that match, as BM_<operation>/<who>/<axes>")
    options = parser.parse_args()
    figures = {who: {} for who in METHODS}

    def wanted(who, row):
        return re.search(options.filter, f"BM_{row}".replace("/", f"/{who}/", 1))

    def add(who, row, figure):
        figures[who].setdefault(row, []).append(figure)

    measure(options, wanted, add)
    print(json.dumps({"python": f"{platform.python_implementation()} {platform.python_version()}", "figures": figures}))


if __name__ == "__main__":
    main()
