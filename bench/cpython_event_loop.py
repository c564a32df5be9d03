#!/usr/bin/env python3
"""What CPython's asyncio takes for the rows of event_loop_bench.

Usage: bench/cpython_event_loop.py [--rounds N] [--tasks N] [--filter REGEX]

Prints JSON: {"python": "CPython 3.11.2", "figures": {"cpython": {row: [ns, ...]}}}, one figure per round. Rows that end with
#cpu are the processor time of all threads. Those of one thread, which have no such twin, are its processor time. Callbacks
do nothing but count, as in event_loop_bench. Nothing is pinned: threads that share one interpreter lock are fastest where
the system puts them.
"""

import argparse
import asyncio
import concurrent.futures
import json
import platform
import re
import threading
import time

IN_FLIGHT = 1_000


class LoopThread:
    """An event loop in a thread of its own."""

    def __enter__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        return self.loop

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


def call_soon_threadsafe(loop, producers, count):
    """Each of the threads hands over its share of the callbacks; ends when the last one has run."""
    left = count
    done = threading.Event()

    def callback():
        nonlocal left
        left -= 1
        if left == 0:
            done.set()

    def produce():
        for _ in range(count // producers):
            loop.call_soon_threadsafe(callback)

    team = [threading.Thread(target=produce) for _ in range(producers)]
    for thread in team:
        thread.start()
    done.wait()
    for thread in team:
        thread.join()


def round_trips_by_future(loop, rounds):
    for _ in range(rounds):
        future = concurrent.futures.Future()
        loop.call_soon_threadsafe(future.set_result, 1)
        assert future.result() == 1


def round_trips_by_event(loop, rounds):
    event = threading.Event()
    for _ in range(rounds):
        loop.call_soon_threadsafe(event.set)
        event.wait()
        event.clear()


async def one():
    return 1


async def one_later():
    await asyncio.sleep(0)
    return 1


def coroutine_round_trips(loop, rounds):
    assert sum(asyncio.run_coroutine_threadsafe(one(), loop).result() for _ in range(rounds)) == rounds


def coroutines(loop, coroutine, count):
    """IN_FLIGHT of them at a time."""
    for _ in range(0, count, IN_FLIGHT):
        futures = [asyncio.run_coroutine_threadsafe(coroutine(), loop) for _ in range(IN_FLIGHT)]
        assert sum(future.result() for future in futures) == IN_FLIGHT


async def call_often(pool, calls):
    loop = asyncio.get_running_loop()
    return sum([await loop.run_in_executor(pool, int, 1) for _ in range(calls)])


def await_pool(loop, pool, in_flight, count):
    futures = [asyncio.run_coroutine_threadsafe(call_often(pool, count // in_flight), loop) for _ in range(in_flight)]
    assert sum(future.result() for future in futures) == count


async def call_soon(count):
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    left = count

    def callback():
        nonlocal left
        left -= 1
        if left == 0:
            done.set()

    for _ in range(count):
        loop.call_soon(callback)
    await done.wait()


async def call_soon_chain(count):
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    left = count

    def link():
        nonlocal left
        left -= 1
        if left == 0:
            done.set()
        else:
            loop.call_soon(link)

    loop.call_soon(link)
    await done.wait()


async def call_later(count):
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    left = count

    def callback():
        nonlocal left
        left -= 1
        if left == 0:
            done.set()

    for i in range(count):
        loop.call_later(i * 7_919 % count * 1e-7, callback)
    await done.wait()


async def call_later_cancel(count):
    loop = asyncio.get_running_loop()
    for _ in range(count):
        loop.call_later(3_600, int).cancel()


async def call_later_chain(count):
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    left = count

    def tick():
        nonlocal left
        left -= 1
        if left == 0:
            done.set()
        else:
            loop.call_later(20e-6, tick)

    loop.call_soon(tick)
    await done.wait()


async def sleep_zero(count):
    for _ in range(count):
        await asyncio.sleep(0)


class Figures:
    """Measures the rows that are wanted, `rounds` times each."""

    def __init__(self, options):
        self.options = options
        self.rows = {}

    def wanted(self, row):
        title, *axes = row.split("/")
        return re.search(self.options.filter, "/".join((f"BM_{title}", "cpython", *axes)))

    def note(self, row, ns):
        self.rows.setdefault(row, []).append(ns)

    def of_threads(self, row, count, work):
        """work(count) on another thread's loop: what passes, and what the processors do meanwhile."""
        if self.wanted(row):
            for _ in range(self.options.rounds):
                cpu, begin = time.process_time_ns(), time.perf_counter_ns()
                work(count)
                end, cpu_end = time.perf_counter_ns(), time.process_time_ns()
                self.note(row, (end - begin) / count)
                self.note(f"{row}#cpu", (cpu_end - cpu) / count)

    def of_one(self, row, count, work):
        """work(count), a coroutine on this thread's loop: what the processor does."""
        if self.wanted(row):
            with asyncio.Runner() as runner:
                for _ in range(self.options.rounds):
                    begin = time.thread_time_ns()
                    runner.run(work(count))
                    self.note(row, (time.thread_time_ns() - begin) / count)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="how often each row is measured (default 7)")
    parser.add_argument("--tasks", type=int, default=20_000, help="callbacks per round (default 20000)")
    parser.add_argument("--filter", default=".", help="only rows that match, as BM_<operation>/<who>/<axes>")
    options = parser.parse_args()
    figures = Figures(options)
    many = max(options.tasks // IN_FLIGHT, 1) * IN_FLIGHT
    few = options.tasks // 10
    with LoopThread() as loop, concurrent.futures.ThreadPoolExecutor(1) as pool:
        for producers in (1, 2, 4, 8):
            figures.of_threads(f"EventLoop_call_soon_threadsafe/producers:{producers}", many,
                               lambda count: call_soon_threadsafe(loop, producers, count))
        figures.of_threads("EventLoop_round_trip_event/idle_us:0/one_core:0", few,
                           lambda count: round_trips_by_event(loop, count))
        figures.of_threads("EventLoop_round_trip_promise/idle_us:0/one_core:0", few,
                           lambda count: round_trips_by_future(loop, count))
        figures.of_threads("EventLoop_coroutine_round_trip/idle_us:0/one_core:0", few,
                           lambda count: coroutine_round_trips(loop, count))
        figures.of_threads(f"EventLoop_coroutines/in_flight:{IN_FLIGHT}", many,
                           lambda count: coroutines(loop, one, count))
        figures.of_threads(f"EventLoop_coroutines_suspended/in_flight:{IN_FLIGHT}", many,
                           lambda count: coroutines(loop, one_later, count))
        figures.of_threads("EventLoop_await_pool/in_flight:1", few, lambda count: await_pool(loop, pool, 1, count))
        figures.of_threads(f"EventLoop_await_pool/in_flight:{IN_FLIGHT}", many,
                           lambda count: await_pool(loop, pool, IN_FLIGHT, count))
    for work, count in ((call_soon, many), (call_soon_chain, many), (call_later, many // 2), (call_later_cancel, many),
                        (call_later_chain, few), (sleep_zero, many)):
        figures.of_one(f"EventLoop_{work.__name__}", count, work)
    print(json.dumps({"python": f"{platform.python_implementation()} {platform.python_version()}",
                      "figures": {"cpython": figures.rows}}))


if __name__ == "__main__":
    main()
