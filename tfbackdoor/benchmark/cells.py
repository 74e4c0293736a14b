"""The cells of a grid's table: means and deviations over seeds."""

import dataclasses
import math
import pathlib
from collections.abc import Iterable

import numpy as np

from tfbackdoor.benchmark import trials

RATES = {"accuracy": "clean_accuracy", "attack_success": "attack_success"}


@dataclasses.dataclass(frozen=True)
class Cell:
    """An attack before or after a defense, over all seeds.

    Args:
        attack: str.
        defense: str, or None before any defense.
        share: float, of the training images as clean ones, or None.
        rates: from `"accuracy"` and `"attack_success"` to a dict from seed to
            share in [0, 1]; seeds without that rate are left out.
        seeds: the finished ones.
        problems: from the seed of a corrupt or failed trial to its record.
        missing: seeds that are still to be done.
    """

    attack: str
    defense: str | None
    share: float | None
    rates: dict[str, dict[int, float]]
    seeds: list[int]
    problems: dict[int, trials.TrialRecord]
    missing: list[int]

    def mean(self, rate: str) -> float | None:
        """Mean over seeds, None where there is none."""
        values = list(self.rates[rate].values())
        return float(np.mean(values)) if values else None

    def deviation(self, rate: str) -> float | None:
        """Standard deviation of a sample (n - 1), None below two seeds."""
        values = list(self.rates[rate].values())
        return float(np.std(values, ddof=1)) if len(values) > 1 else None

    def to_json(self) -> dict:
        """The cell as `results.json` holds it."""
        return {
            "attack": self.attack,
            "defense": self.defense,
            "clean_share": self.share,
            "seeds": self.seeds,
            **{
                rate: {
                    "mean": self.mean(rate),
                    "std": self.deviation(rate),
                    "by_seed": self.rates[rate],
                }
                for rate in RATES
            },
            "problems": {
                seed: {"state": record.state, "error": record.error}
                for seed, record in self.problems.items()
            },
            "missing": self.missing,
        }


def read_records(
    root: pathlib.Path, plan: Iterable[trials.Trial]
) -> dict[trials.Trial, trials.TrialRecord]:
    """The record of each trial.

    What cannot be done, because its attack is corrupt or failed, counts as
    corrupt or failed too.
    """
    records = {trial: trials.read(root, trial) for trial in plan}
    for trial, record in records.items():
        if record.state in ("finished", "corrupt") or trial.defense is None:
            continue
        attacked = records.get(trial.attacked)
        attacked = attacked or trials.read(root, trial.attacked)
        if attacked.state in ("corrupt", "failed"):
            records[trial] = dataclasses.replace(attacked, stamp=0)
    return records


def make_cells(
    records: dict[trials.Trial, trials.TrialRecord],
) -> list[Cell]:
    """The cells of a table, in the order in which their trials come."""
    by_cell = {}
    for trial, record in records.items():
        key = trial.attack, trial.defense, trial.share
        by_cell.setdefault(key, {})[trial.seed] = record
    return [_cell(*key, by_seed) for key, by_seed in by_cell.items()]


def _cell(attack, defense, share, by_seed):
    finished = {s: r for s, r in by_seed.items() if r.state == "finished"}
    rates = {
        rate: {
            seed: value
            for seed, record in finished.items()
            for value in [value_of(record.content["scores"], field)]
            if value is not None
        }
        for rate, field in RATES.items()
    }
    problems = {
        s: r for s, r in by_seed.items() if r.state in ("corrupt", "failed")
    }
    missing = [s for s, r in by_seed.items() if r.state == "missing"]
    return Cell(
        attack, defense, share, rates, list(finished), problems, missing
    )


def value_of(scores: dict, field: str) -> float | None:
    """A rate of `Scores.to_json`, None where it is unknown."""
    value = (scores.get(field) or {}).get("value")
    return value if value is not None and math.isfinite(value) else None
