"""Times several pieces of work in turn, each in a process of its own.

Frameworks in one process share cores, thread pools and caches; processes that
take turns do not, and a change in the machine's speed meets all of them.
"""

import importlib.metadata
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable


def compare(
    setups: dict[str, Callable[[], Callable[[], None]]],
    *,
    rounds: int = 5,
    units: int = 1,
    warm_up: bool = True,
) -> dict[str, float]:
    """Median seconds of each piece of work.

    Args:
        setups: from name to a function that can be pickled; called in the
            process, it gives the function of no arguments to be timed.
        rounds: int > 0, how often each is timed.
        units: int > 0, how many units of work one call makes; the seconds are
            of one unit.
        warm_up: bool, whether a first call is not timed.
    """
    context = multiprocessing.get_context("spawn")
    workers = {}
    for name, setup in setups.items():
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(setup, warm_up, theirs))
        process.start()
        ours.recv()
        workers[name] = (process, ours)
    seconds = {name: [] for name in setups}
    for _ in range(rounds):
        for name, (_, pipe) in workers.items():
            pipe.send("once more")
            seconds[name].append(pipe.recv() / units)
    for process, pipe in workers.values():
        pipe.send(None)
        process.join()
    return {name: statistics.median(times) for name, times in seconds.items()}


def print_table(title: str, seconds: dict[str, float]) -> None:
    """A Markdown table; the first row is what the others are compared with."""
    reference = next(iter(seconds.values()))
    print(f"\n{title}\n\n| | seconds | times faster |\n|---|---|---|")
    for name, value in seconds.items():
        print(f"| {name} | {value:.3g} | {reference / value:.2f} |")
    print(f"\n{_machine()}", flush=True)


def _work(setup, warm_up, pipe):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    work = setup()
    if warm_up:
        work()
    pipe.send("ready")
    while pipe.recv():
        start = time.perf_counter()
        work()
        pipe.send(time.perf_counter() - start)


def _machine():
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}"
        for name in ("tensorflow", "keras", "torch")
    )
    return (
        f"{_processor()}, {len(os.sched_getaffinity(0))} cores, Python "
        f"{platform.python_version()}, {versions}, {time.strftime('%Y-%m-%d')}"
    )


def _processor():
    with open("/proc/cpuinfo") as info:
        flags = next(line for line in info if line.startswith("flags"))
    known = [f for f in ("avx512f", "avx512_bf16", "amx_bf16") if f in flags]
    return f"{platform.machine()} CPU with {' '.join(known) or 'AVX'}"
