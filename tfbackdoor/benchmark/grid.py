"""A grid of attacks x defenses x seeds x shares of clean data, resumable."""

import contextlib
import json
import math
import pathlib
import time
from collections.abc import Callable
from collections.abc import Sequence

from tfbackdoor.benchmark import cells as cells_module
from tfbackdoor.benchmark import progress
from tfbackdoor.benchmark import results
from tfbackdoor.benchmark import trials
from tfbackdoor.files import atomic
from tfbackdoor.files import claims
from tfbackdoor.files import json_files
from tfbackdoor.report import report

_SETTINGS = "settings.json"
_POLL_SECONDS = 0.05
# Drawing takes a second: not after every trial.
_SECONDS_A_FIGURE = 60.0


def plan_grid(
    attacks: Sequence[str],
    defenses: Sequence[str],
    *,
    seeds: Sequence[int],
    shares: Sequence[float],
) -> list[trials.Trial]:
    """The trials of a grid: each attack, then what defends against it.

    Seed by seed, so that a table with one seed is there first.

    Args:
        attacks: names.
        defenses: names.
        seeds: ints.
        shares: floats in (0, 1), of the training images that the defenses
            get as clean ones.

    Raises:
        ValueError: where a list is empty, names something twice, or a share
            is out of range.
    """
    lists = {"attacks": attacks, "seeds": seeds, "shares": shares}
    for name, values in {**lists, "defenses": defenses}.items():
        if not values and name != "defenses":
            raise ValueError(f"`{name}` must not be empty. Received: nothing.")
        if len(set(values)) < len(values):
            raise ValueError(
                f"`{name}` must not repeat any. Received: {list(values)}"
            )
    if not all(0.0 < share < 1.0 for share in shares):
        raise ValueError(
            f"`shares` must lie in (0, 1). Received: {list(shares)}"
        )
    return [
        trial
        for seed in seeds
        for attack in attacks
        for trial in [
            trials.Trial(attack, seed),
            *(
                trials.Trial(attack, seed, defense, share)
                for share in shares
                for defense in defenses
            ),
        ]
    ]


def run_grid(
    root: str | pathlib.Path,
    plan: Sequence[trials.Trial],
    attack: Callable[[trials.Trial, pathlib.Path], dict],
    defend: Callable[[trials.Trial, pathlib.Path, pathlib.Path], dict],
    *,
    settings: dict,
    say: Callable[[str], None] = print,
    pause: float = 2.0,
    checkpoint_seconds: float = 60.0,
) -> dict[trials.Trial, trials.TrialRecord]:
    """Does what is unfinished of a grid, and keeps its table up to date.

    Each finished trial is a folder that appears by a rename, so a run may be
    killed at any time and started again; a fit of this package's models goes
    on from its last checkpoint, see `resumable`. Any number of processes may
    work on one folder, also from several machines where the file system does
    locks: each does what no other has claimed, and all end when all is done. A
    trial that fails is noted and the rest goes on; the next run tries it
    again. A corrupt folder is named, left as it is and nothing is built on it.

    Args:
        root: folder of the grid, made where missing.
        plan: of `plan_grid`. The folder may hold more; the table shows all.
        attack: function of the trial and the folder to write to that attacks
            and returns scores as JSON, see `Scores.to_json`.
        defend: function of the trial, the attack's folder and the folder to
            write to that defends and returns scores.
        settings: dict as JSON, all else that the scores depend on.
        say: gets one line per trial, with the time left.
        pause: float > 0, seconds between looks at what others have claimed.
        checkpoint_seconds: float >= 0 between checkpoints.

    Returns:
        From trial of the plan to record, for those that are not finished.

    Raises:
        ValueError: where the folder was begun with other settings.
    """
    root = pathlib.Path(root).absolute()
    root.mkdir(parents=True, exist_ok=True)
    with _alone(root, "settings"):
        _check_settings(root / _SETTINGS, settings)
    run = _Run(root, plan, attack, defend, settings, say, checkpoint_seconds)
    while run.pending:
        if not run.round() and run.pending:
            time.sleep(pause)
    return run.finish()


class _Run:
    """One process at work on a grid; `pending` is what is not settled yet."""

    def __init__(
        self, root, plan, attack, defend, settings, say, checkpoint_seconds
    ):
        self.root = root
        self.plan = list(plan)
        self.pending = list(plan)
        self._attack = attack
        self._defend = defend
        self._settings = settings
        self._say = say
        self._checkpoint_seconds = checkpoint_seconds
        records = self._records()
        self._failed_before = {
            trial: record.stamp
            for trial, record in records.items()
            if record.state == "failed"
        }
        self._clock = progress.Clock(records)
        self._drawn = -math.inf
        finished = sum(r.state == "finished" for r in records.values())
        say(f"{finished} of {len(self.plan)} trials are finished in {root}")

    def round(self) -> bool:
        """Does each pending trial that is free; whether there was any."""
        worked = False
        for trial in list(self.pending):
            if self._settled(trial):
                self.pending.remove(trial)
                continue
            if trial.defense is not None and not self._attacked(trial):
                continue
            with trials.claimed(self.root, trial) as held:
                if not held or self._settled(trial):
                    continue
                self._make(trial)
            self.pending.remove(trial)
            worked = True
        return worked

    def finish(self):
        """Writes the table a last time and names what is not finished."""
        self._publish(figure=True)
        missing = {
            trial: record
            for trial, record in self._records().items()
            if record.state != "finished"
        }
        for trial, record in missing.items():
            if record.error:
                self._say(f"{trial}: {record.state}: {record.error}")
        return missing

    def _make(self, trial):
        def work(folder):
            if trial.defense is None:
                return self._attack(trial, folder)
            return self._defend(trial, trial.attacked.folder(self.root), folder)

        record = trials.make(
            self.root,
            trial,
            work,
            report.versions(),
            checkpoint_seconds=self._checkpoint_seconds,
        )
        self._publish()
        self._say(self._progress(trial, record))

    def _settled(self, trial):
        """Whether nothing is left to be done here about the trial."""
        record = trials.read(self.root, trial)
        if record.state in ("finished", "corrupt"):
            return True
        if record.stamp != self._failed_before.get(trial, 0):
            return True
        if trial.defense is None or self._attacked(trial):
            return False
        return self._settled(trial.attacked)

    def _attacked(self, trial):
        """Whether there is something to defend yet."""
        return trials.read(self.root, trial.attacked).state == "finished"

    def _records(self):
        return cells_module.read_records(self.root, self.plan)

    def _publish(self, *, figure=False):
        figure = figure or time.monotonic() - self._drawn > _SECONDS_A_FIGURE
        with _alone(self.root, "results"):
            results.write_results(
                self.root, self.plan, self._settings, figure=figure
            )
        if figure:
            self._drawn = time.monotonic()

    def _progress(self, trial, record):
        said = record.error
        if record.state == "finished":
            said = (
                f"{results.describe_scores(record.content['scores'])}, "
                f"{progress.duration(record.content['seconds'])}"
            )
        left = [trial for trial in self.pending if not self._settled(trial)]
        seconds = self._clock.time_left(left, self._records())
        known = "time left unknown"
        if seconds is not None:
            known = f"{progress.duration(seconds)} left"
        done = len(self.plan) - len(left)
        return f"[{done}/{len(self.plan)}] {trial}: {said}; {known}"


@contextlib.contextmanager
def _alone(root, name):
    """Waits until no other process is in the context of that name."""
    while True:
        with claims.claim(root / f".{name}.claim") as held:
            if held:
                yield
                return
        time.sleep(_POLL_SECONDS)


def _check_settings(path, settings):
    """Writes the settings, or raises where others are there."""
    settings = json.loads(json.dumps(settings))
    if not path.exists():
        atomic.write_json(path, settings)
        return
    try:
        found = json_files.read_json(path)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"`root` must hold readable settings. Received: {path}, which is "
            "corrupt."
        ) from error
    differing = [
        f"{name}={found.get(name)!r} there, {settings.get(name)!r} here"
        for name in sorted({*found, *settings})
        if found.get(name) != settings.get(name)
    ]
    if differing:
        raise ValueError(
            "`settings` must be those that the folder was begun with; choose "
            f"another folder. Received: {'; '.join(differing)}"
        )
