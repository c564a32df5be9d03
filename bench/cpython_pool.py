#!/usr/bin/env python3
"""What CPython's ThreadPoolExecutor takes for the rows of pool_bench that it can be asked for.

Usage: bench/cpython_pool.py [--rounds N] [--tasks N]

Prints JSON: {"python": "CPython 3.11.2", "figures": {"cpython": {row: [ns, ...]}}}, one figure per round. Tasks do nothing, as in
pool_bench. Nothing is pinned: threads that share one interpreter lock are fastest where the system puts them.
"""

import argparse
import concurrent.futures
import json
import platform
import time


def nothing():
    return None


def submit_and_result(pool, tasks):
    """ns per task until all are submitted, and until all results are there."""
    begin = time.perf_counter_ns()
    futures = [pool.submit(nothing) for _ in range(tasks)]
    submitted = time.perf_counter_ns()
    for future in futures:
        future.result()
    end = time.perf_counter_ns()
    return (submitted - begin) / tasks, (end - begin) / tasks


def round_trip(pool, rounds):
    begin = time.perf_counter_ns()
    for _ in range(rounds):
        pool.submit(nothing).result()
    return (time.perf_counter_ns() - begin) / rounds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="how often each row is measured (default 7)")
    parser.add_argument("--tasks", type=int, default=20_000, help="tasks per round (default 20000)")
    options = parser.parse_args()
    figures = {}
    for workers in (1, 2, 4):
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            submit_and_result(pool, 1_000)
            for _ in range(options.rounds):
                submit, result = submit_and_result(pool, options.tasks)
                figures.setdefault(f"Pool_submit_result/workers:{workers}/one_core:0", []).append(result)
                if workers == 1:
                    figures.setdefault("Pool_submit/workers:1", []).append(submit)
                if workers == 2:
                    figures.setdefault("Pool_round_trip/workers:2/idle_us:0/one_core:0", []).append(
                        round_trip(pool, options.tasks // 10))
    print(json.dumps({"python": f"{platform.python_implementation()} {platform.python_version()}",
                      "figures": {"cpython": figures}}))


if __name__ == "__main__":
    main()
