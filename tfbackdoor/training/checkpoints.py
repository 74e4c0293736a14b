"""Checkpoints of a job: what a kill leaves is where the next run goes on.

A job is a program that does the same at every start, with one or more fits
in it. Within `resumable` each fit has a number, the order in which it comes,
and files of its own; a job that starts again repeats what lies between fits
and takes up each fit where its last checkpoint is.

Files of our own rather than `tf.train.CheckpointManager` with the iterator in
the checkpoint (TensorFlow 2.21): that cannot save the iterator of several
replicas, nor one of a Python generator; it writes the shuffle buffer, 22 MB
for 2,000 CIFAR images; and it reads serialised iterators from files that are
not to be trusted. Here batches that were done are drawn again, see `Feed`.
"""

import contextlib
import contextvars
import json
import pathlib
import random
import sys
import time

import numpy as np

from tfbackdoor.files import arrays
from tfbackdoor.files import atomic
from tfbackdoor.network import devices

_KEPT = 2
_HEADER = "header"
# A fit that took less than this share of `seconds` is quicker repeated.
_WORTH_KEEPING = 1 / 6
_current = contextvars.ContextVar("job", default=None)


class Stopped(BaseException):
    """Ends a job whose state is saved; not an `Exception`, nothing failed."""


@contextlib.contextmanager
def resumable(folder: str | pathlib.Path, *, seconds: float = 60.0):
    """A context whose fits save checkpoints, and resume from them.

    The program in it must do the same at every start: same arguments, data
    and seed. Only fits of this package's models on a `tf.data.Dataset` save
    checkpoints; all else is repeated.

    Args:
        folder: where the checkpoints are, made where missing.
        seconds: float >= 0 between checkpoints; 0 saves after each batch.

    Yields:
        The `Job`, whose `stop` saves and ends it, for a signal handler.

    Example:
        with resumable("checkpoints"):
            tfbackdoor.purify(classifier, clean)
    """
    if seconds < 0.0:
        raise ValueError(f"`seconds` must be >= 0. Received: seconds={seconds}")
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    token = _current.set(Job(folder, seconds))
    try:
        yield _current.get()
    finally:
        _current.reset(token)


def current_job() -> "Job | None":
    """The job of the `resumable` context that this is in, if any."""
    return _current.get()


def stop(*_) -> None:
    """Ends what runs by `Stopped`; a fit within `resumable` saves first.

    A signal handler.
    """
    job = current_job()
    if job is None:
        raise Stopped
    job.stop()


def take_branch(name: str) -> None:
    """Keeps the fits that follow apart from those of other branches.

    For a program that may go another way when it starts again.
    """
    job = current_job()
    if job is not None:
        job.branch = f"{name}-"


class Job:
    """A resumable job: its folder, its clock and the count of its fits.

    Args:
        folder: `pathlib.Path` of the checkpoints, or None for none at all.
        seconds: float >= 0 between them, infinity for none.
    """

    def __init__(self, folder: pathlib.Path | None, seconds: float):
        self.folder = folder
        self.seconds = seconds
        self._fits = 0
        self.branch = ""
        self._fitting = False
        self._stop = False

    def stop(self, *_) -> None:
        """Ends the job by `Stopped`: a fit first saves what it has."""
        self._stop = True
        if not self._fitting:
            raise Stopped

    @contextlib.contextmanager
    def fit(self):
        """A context of the next fit, which yields its `FitCheckpoints`."""
        name = f"{self.branch}fit{self._fits:03d}"
        self._fits += 1
        self._fitting = True
        try:
            yield FitCheckpoints(self, name)
        finally:
            self._fitting = False

    @property
    def stopping(self) -> bool:
        """Whether the job is to end as soon as its state is saved."""
        return self._stop


class FitCheckpoints:
    """The checkpoints of one fit: when to save, files, the last good one.

    Args:
        job: the `Job`.
        name: str, of this fit in the job.
    """

    def __init__(self, job: Job, name: str):
        self._job = job
        self._name = name
        self._began = self._saved = time.monotonic()

    @property
    def stopping(self) -> bool:
        """Whether the job is to end as soon as its state is saved."""
        return self._job.stopping

    def due(self) -> bool:
        """Whether to save now, in the middle of the fit."""
        return self.stopping or (
            time.monotonic() - self._saved >= self._job.seconds
        )

    def worth_keeping(self) -> bool:
        """Whether to save the end of the fit."""
        took = time.monotonic() - self._began
        return self.stopping or took >= self._job.seconds * _WORTH_KEEPING

    def save(self, position: int, header: dict, values: list) -> None:
        """Writes a checkpoint and removes all but the last two.

        Where the disk is full the job goes on without; it says so.

        Args:
            position: int, batches done; orders the files.
            header: what else is to come back, as JSON knows it.
            values: NumPy arrays, whose bytes are written.
        """
        self._saved = time.monotonic()
        if not devices.is_chief():
            return  # All workers hold the same.
        state = {**header, "random": _random_state()}
        path = self._job.folder / f"{self._name}-{position:09d}.npz"
        try:
            _write(path, json.dumps(state), values)
        except OSError as error:
            print(f"No checkpoint was saved: {error}", file=sys.stderr)
        else:
            for old in self._paths()[_KEPT:]:
                old.unlink()

    def load(self) -> tuple[dict, list[np.ndarray]] | None:
        """Header and bytes of the last checkpoint that can be read.

        None where there is none. The random states are as they were then.
        """
        for path in self._paths() if self._job.folder else ():
            try:
                # Zip archives hold a checksum for each member.
                found = arrays.read_arrays(path)
                header = json.loads(bytes(found.pop(_HEADER)))
            except (ValueError, KeyError) as error:
                print(f"A broken checkpoint is left out: {error}")
                continue
            _set_random_state(header.pop("random"))
            print(f"Resuming from {path.name}")
            return header, [found[f"{i:06d}"] for i in range(len(found))]
        return None

    def _paths(self):
        """Its checkpoints, the last first."""
        return sorted(self._job.folder.glob(f"{self._name}-*.npz"))[::-1]


def _write(path, header, values):
    contents = {_HEADER: np.frombuffer(header.encode(), "uint8")} | {
        # Their bytes: `.npz` files know no bfloat16.
        f"{i:06d}": np.frombuffer(value.tobytes(), "uint8")
        for i, value in enumerate(values)
    }
    with atomic.replaced(path) as partial:
        np.savez(partial, **contents)


def _random_state():
    name, keys, *rest = np.random.get_state()
    return {"python": random.getstate(), "numpy": [name, keys.tolist(), *rest]}


def _set_random_state(state):
    version, keys, gauss = state["python"]
    random.setstate((version, tuple(keys), gauss))
    np.random.set_state(tuple(state["numpy"]))
