"""How long the rest of a grid will take."""

import time

import numpy as np

from tfbackdoor.benchmark import trials


class Clock:
    """How long trials will take, by the mean of the finished ones.

    Args:
        records: from trial to record when the clock starts.
    """

    def __init__(self, records):
        self._start = time.monotonic()
        self._before = {
            trial for trial, r in records.items() if r.state == "finished"
        }

    def time_left(self, left, records) -> float | None:
        """Seconds at the pace of all processes since this one started."""
        seconds = {
            trial: record.content["seconds"]
            for trial, record in records.items()
            if record.state == "finished"
        }
        estimates = [estimate(trial, seconds) for trial in left]
        if None in estimates:
            return None
        elapsed = time.monotonic() - self._start
        worked = sum(s for p, s in seconds.items() if p not in self._before)
        return sum(estimates) / max(1.0, worked / max(elapsed, 1e-3))


def estimate(
    trial: trials.Trial, seconds: dict[trials.Trial, float]
) -> float | None:
    """Mean duration of the trials of a kind, else of those most like it."""
    for same in (
        lambda other: other.kind == trial.kind,
        lambda other: other.kind[0] == trial.kind[0],
        lambda other: True,
    ):
        known = [time for other, time in seconds.items() if same(other)]
        if known:
            return float(np.mean(known))
    return None


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} h"
