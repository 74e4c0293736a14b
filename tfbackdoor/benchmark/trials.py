"""Trials of a grid on disk: folders that appear when they are finished."""

import contextlib
import dataclasses
import functools
import pathlib
import shutil
import time
from collections.abc import Callable

from tfbackdoor import errors
from tfbackdoor.files import atomic
from tfbackdoor.files import claims
from tfbackdoor.files import fingerprints
from tfbackdoor.files import json_files
from tfbackdoor.training import checkpoints

_TRIALS = "trials"
_ATTACK = "attack"
_RECORD = "trial.json"
_FAILED = ".failed.json"
_CHECKPOINTS = ".checkpoints"


@dataclasses.dataclass(frozen=True)
class Trial:
    """One attack, or one defense of the classifier that an attack left.

    Args:
        attack: str, name of the attack.
        seed: int, of every random choice in the trial.
        defense: str, name of the defense, or None for the attack itself.
        share: float in (0, 1), of the training images that the defense gets
            as clean ones; None for the attack itself.
    """

    attack: str
    seed: int
    defense: str | None = None
    share: float | None = None

    @property
    def attacked(self) -> "Trial":
        """The attack that this trial is or defends against."""
        return Trial(self.attack, self.seed)

    @property
    def kind(self) -> tuple[str, str]:
        """What trials of about the same duration have in common."""
        if self.defense is None:
            return "attack", self.attack
        return "defense", self.defense

    def folder(self, root: pathlib.Path) -> pathlib.Path:
        """Where the finished trial is under the folder of the grid."""
        name = _ATTACK
        if self.defense is not None:
            name = f"{self.defense}@{self.share:g}"
        return root / _TRIALS / self.attack / f"seed{self.seed}" / name

    def __str__(self):
        text = f"{self.attack}, seed {self.seed}"
        if self.defense is None:
            return text
        return f"{text}, {self.defense} on {100 * self.share:g} % clean images"


@dataclasses.dataclass(frozen=True)
class TrialRecord:
    """What the disk says of a trial.

    Args:
        state: str, `"finished"`, `"corrupt"` (there is a folder, but not as it
            was finished), `"failed"` or `"missing"`.
        error: str, one sentence on a corrupt or failed trial.
        content: dict of a finished trial: its `scores`, `seconds`, `versions`.
        stamp: int, another number for each failure.
    """

    state: str
    error: str = ""
    content: dict = dataclasses.field(default_factory=dict)
    stamp: int = 0


def read(root: pathlib.Path, trial: Trial) -> TrialRecord:
    """The record of a trial; files that are not as finished make it corrupt."""
    folder = trial.folder(root)
    if folder.exists():
        try:
            content = json_files.read_json(folder / _RECORD)
            _check_files(folder, content["files"])
            if not isinstance(content["scores"], dict):
                raise ValueError(f"{_RECORD} holds no scores")
        except (OSError, ValueError, KeyError, TypeError) as error:
            said = errors.sentence(error)
            return TrialRecord("corrupt", f"{folder} is corrupt: {said}")
        return TrialRecord("finished", content=content)
    try:
        path = _beside(folder, _FAILED)
        failure = json_files.read_json(path)
        return TrialRecord(
            "failed", str(failure["error"]), stamp=path.stat().st_mtime_ns
        )
    except (OSError, ValueError, KeyError, TypeError):
        return TrialRecord("missing")


def find(root: pathlib.Path) -> list[Trial]:
    """The trials that are finished, corrupt or failed under a folder."""
    found = []
    for path in sorted((root / _TRIALS).glob("*/seed*/[!.]*")):
        name = path.name.removesuffix(_FAILED)
        with contextlib.suppress(ValueError):
            seed = int(path.parent.name.removeprefix("seed"))
            trial = Trial(path.parents[1].name, seed)
            if name != _ATTACK:
                defense, _, share = name.rpartition("@")
                trial = Trial(trial.attack, seed, defense, float(share))
            found.append(trial)
    return list(dict.fromkeys(found))


@contextlib.contextmanager
def claimed(root: pathlib.Path, trial: Trial):
    """A context that yields whether this process alone does the trial."""
    folder = trial.folder(root)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with claims.claim(_beside(folder, ".claim", hidden=True)) as held:
        yield held


def make(
    root: pathlib.Path,
    trial: Trial,
    work: Callable[[pathlib.Path], dict],
    versions: dict[str, str],
    *,
    checkpoint_seconds: float,
) -> TrialRecord:
    """Does a claimed trial; its folder appears once it is finished.

    Fits of this package's models go on from the checkpoints that a kill left
    beside it, see `resumable`.

    Args:
        root: folder of the grid.
        trial: what is done; the caller holds its claim.
        work: function that writes into the folder that it gets and returns
            the scores as JSON has them.
        versions: recorded beside the scores.
        checkpoint_seconds: float >= 0 between checkpoints.

    Returns:
        The record. An exception of `work` is written down as one sentence.
    """
    folder = trial.folder(root)
    failure = _beside(folder, _FAILED)
    # What a killed process left is in the way; the claim makes it ours.
    partial = _beside(folder, ".partial", hidden=True)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    saved = _beside(folder, _CHECKPOINTS, hidden=True)
    start = time.monotonic()
    try:
        with checkpoints.resumable(saved, seconds=checkpoint_seconds):
            scores = work(partial)
        content = {
            **dataclasses.asdict(trial),
            "scores": scores,
            "seconds": round(time.monotonic() - start, 3),
            "versions": versions,
            "files": {
                name: _digest(partial / name) for name in _files(partial)
            },
        }
        atomic.write_json(partial / _RECORD, content)
        if trial.defense is None:
            _forget_defenses(folder)
        shutil.rmtree(saved)
        partial.rename(folder)
        failure.unlink(missing_ok=True)
    except Exception as error:  # One cell must not end the grid.
        atomic.write_json(failure, {"error": errors.sentence(error)})
        if errors.is_expected(error):  # Another try would end in the same way.
            shutil.rmtree(saved, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return read(root, trial)


def _forget_defenses(attacked):
    """Removes what was begun on an earlier classifier of that attack."""
    for path in attacked.parent.glob(f".*@*{_CHECKPOINTS}"):
        shutil.rmtree(path)


def _beside(folder, ending, *, hidden=False):
    return folder.with_name(f"{'.' * hidden}{folder.name}{ending}")


def _files(folder):
    """The files under a folder, as they are named in its record."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.name != _RECORD
    )


def _check_files(folder, digests):
    for name, digest in digests.items():
        if not (folder / name).is_file():
            raise ValueError(f"{name} is missing")
        if _digest(folder / name) != digest:
            raise ValueError(f"{name} is not as it was written")


def _digest(path):
    facts = path.stat()
    return _hashed(path, facts.st_size, facts.st_mtime_ns)


@functools.cache
def _hashed(path, size, modified):
    """SHA-256 of a file, read once while its size and time stay."""
    return fingerprints.fingerprint_file(path)
