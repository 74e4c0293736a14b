"""Cores of this machine, shared out among processes.

Two processes with a core each train a small network in four fifths of the time
that one process with both cores takes for each of two in turn.
"""

import os
import subprocess


def split(count: int) -> list[set[int] | None]:
    """Parts of the cores that this process may use, as even as can be.

    None for each where there are fewer cores than parts, or the system has no
    notion of it (macOS, Windows).
    """
    if not hasattr(os, "sched_getaffinity"):
        return [None] * count
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < count:
        return [None] * count
    return [set(usable[first::count]) for first in range(count)]


def use(part: set[int] | None) -> None:
    """Keeps what this thread starts from now on to a part of the cores."""
    if part is not None:
        os.sched_setaffinity(0, part)


def start(command: list[str], part: set[int] | None) -> subprocess.Popen:
    """Starts a silent process on a part of the cores."""
    if part is None:
        return _start(command)
    own = os.sched_getaffinity(0)
    use(part)
    try:
        return _start(command)
    finally:
        use(own)


def _start(command):
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
