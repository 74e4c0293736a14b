"""The table of a grid: means and deviations over seeds, in four forms."""

import csv
import dataclasses
import io
import json
import math
import os
import pathlib
from collections.abc import Iterable

import numpy as np

from tfbackdoor import grid_figures
from tfbackdoor import pieces

_RATES = {"accuracy": "clean_accuracy", "attack_success": "attack_success"}
_COLUMNS = (
    "attack",
    "defence",
    "clean_share",
    "seeds",
    *(f"{rate}_{number}" for rate in _RATES for number in ("mean", "std")),
    "problems",
)
_CLEAN = "none"


@dataclasses.dataclass(frozen=True)
class Cell:
    """An attack before or after a defence, over all seeds.

    Args:
        attack: str.
        defence: str, or None before any defence.
        share: float, of the training images as clean ones, or None.
        rates: from `"accuracy"` and `"attack_success"` to a dict from seed to
            share in [0, 1]; seeds without that rate are left out.
        seeds: the finished ones.
        problems: from the seed of a corrupt or failed piece to its record.
        missing: seeds that are still to be done.
    """

    attack: str
    defence: str | None
    share: float | None
    rates: dict[str, dict[int, float]]
    seeds: list[int]
    problems: dict[int, pieces.Record]
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
            "defence": self.defence,
            "clean_share": self.share,
            "seeds": self.seeds,
            **{
                rate: {
                    "mean": self.mean(rate),
                    "std": self.deviation(rate),
                    "by_seed": self.rates[rate],
                }
                for rate in _RATES
            },
            "problems": {
                seed: {"state": record.state, "error": record.error}
                for seed, record in self.problems.items()
            },
            "missing": self.missing,
        }


def read_records(
    root: pathlib.Path, plan: Iterable[pieces.Piece]
) -> dict[pieces.Piece, pieces.Record]:
    """The record of each piece.

    What cannot be done, because its attack is corrupt or failed, counts as
    corrupt or failed too.
    """
    records = {piece: pieces.read(root, piece) for piece in plan}
    for piece, record in records.items():
        if record.state in ("finished", "corrupt") or piece.defence is None:
            continue
        attacked = records.get(piece.attacked)
        attacked = attacked or pieces.read(root, piece.attacked)
        if attacked.state in ("corrupt", "failed"):
            records[piece] = dataclasses.replace(attacked, stamp=0)
    return records


def make_cells(
    records: dict[pieces.Piece, pieces.Record],
) -> list[Cell]:
    """The cells of a table, in the order in which their pieces come."""
    by_cell = {}
    for piece, record in records.items():
        key = piece.attack, piece.defence, piece.share
        by_cell.setdefault(key, {})[piece.seed] = record
    return [_cell(*key, by_seed) for key, by_seed in by_cell.items()]


def write_results(
    root: pathlib.Path,
    plan: Iterable[pieces.Piece],
    settings: dict,
    *,
    figure: bool = True,
) -> None:
    """Writes `results.csv`, `.json`, `.md` and `.png`, each in one step.

    Args:
        root: folder of a grid; all that it holds is shown.
        plan: pieces that are shown as missing where they are not there.
        settings: of the grid.
        figure: whether `results.png` is drawn too.
    """
    everything = dict.fromkeys([*plan, *pieces.find(root)])
    records = read_records(root, everything)
    cells = make_cells(records)
    versions = _versions(records.values())
    content = {
        "settings": settings,
        "versions": versions,
        "cells": [cell.to_json() for cell in cells],
        "pieces": [_piece_to_json(*item) for item in records.items()],
    }
    pieces.write_text(
        root / "results.json", json.dumps(content, indent=2) + "\n"
    )
    pieces.write_text(root / "results.csv", _to_csv(cells))
    pieces.write_text(
        root / "results.md", _to_markdown(cells, settings, versions)
    )
    if not figure:
        return
    partial = root / f".results.partial-{os.getpid()}.png"
    try:
        grid_figures.plot_cells(content["cells"], partial)
        partial.replace(root / "results.png")
    finally:
        partial.unlink(missing_ok=True)


def describe_scores(scores: dict) -> str:
    """Accuracy and attack success of `Scores.to_json` in words."""
    return ", ".join(
        f"{name.replace('_', ' ')} {_percent(_value(scores, field))} %"
        for name, field in _RATES.items()
    )


def _cell(attack, defence, share, by_seed):
    finished = {s: r for s, r in by_seed.items() if r.state == "finished"}
    rates = {
        rate: {
            seed: value
            for seed, record in finished.items()
            for value in [_value(record.content["scores"], field)]
            if value is not None
        }
        for rate, field in _RATES.items()
    }
    problems = {
        s: r for s, r in by_seed.items() if r.state in ("corrupt", "failed")
    }
    missing = [s for s, r in by_seed.items() if r.state == "missing"]
    return Cell(
        attack, defence, share, rates, list(finished), problems, missing
    )


def _value(scores, field):
    value = (scores.get(field) or {}).get("value")
    return value if value is not None and math.isfinite(value) else None


def _versions(records):
    """All versions that the finished pieces were made with, by library."""
    found = {}
    for record in records:
        for name, version in record.content.get("versions", {}).items():
            found.setdefault(name, set()).add(version)
    return {name: sorted(versions) for name, versions in found.items()}


def _piece_to_json(piece, record):
    return {
        **dataclasses.asdict(piece),
        "state": record.state,
        "error": record.error,
        "seconds": record.content.get("seconds"),
        "scores": record.content.get("scores"),
    }


def _to_csv(cells):
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for cell in cells:
        numbers = [
            number(rate)
            for rate in _RATES
            for number in (cell.mean, cell.deviation)
        ]
        row = [
            cell.attack,
            cell.defence or "",
            "" if cell.share is None else f"{cell.share:g}",
            " ".join(map(str, cell.seeds)),
            *("" if n is None else f"{n:.6f}" for n in numbers),
            _problems(cell),
        ]
        writer.writerow(row)
    return stream.getvalue()


def _to_markdown(cells, settings, versions):
    shares = sorted({c.share for c in cells if c.share is not None})
    lines = [
        "# Attacks and defences",
        "",
        "Clean accuracy / attack success on test images in percent, mean ± "
        "standard deviation (n - 1) over seeds. Attack success leaves out "
        "images that have the attacker's label anyway.",
    ]
    for share in shares or [None]:
        title = "Before any defence"
        if share is not None:
            title = f"{100 * share:g} % of the training images as clean data"
        shown = [c for c in cells if c.share in (None, share)]
        lines += ["", f"## {title}", "", *_share_table(shown)]
    problems = [
        f"- {_title(cell)}, seed {seed}: {record.state}. {record.error}"
        for cell in cells
        for seed, record in cell.problems.items()
    ]
    if problems:
        lines += ["", "## Corrupt and failed", "", *problems]
    lines += ["", "## Settings", ""]
    lines += [f"- {name}: {value}" for name, value in settings.items()]
    lines += [f"- {name} {', '.join(v)}" for name, v in versions.items()]
    return "\n".join(lines) + "\n"


def _share_table(cells):
    """Lines of a table, attacks down and defences across."""
    columns = list(dict.fromkeys(cell.defence for cell in cells))
    columns.sort(key=lambda defence: defence is not None)
    rows = {}
    for cell in cells:
        rows.setdefault(cell.attack, {})[cell.defence] = cell
    names = [defence or "before" for defence in columns]
    lines = [
        "| attack | " + " | ".join(names) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for attack, row in rows.items():
        texts = [_text(row[c]) if c in row else "" for c in columns]
        lines.append(f"| {attack} | " + " | ".join(texts) + " |")
    complete = [
        row
        for attack, row in rows.items()
        if attack != _CLEAN and all(_has_rates(row.get(c)) for c in columns)
    ]
    if len(complete) > 1:
        texts = [_means([row[c] for row in complete]) for c in columns]
        lines.append(
            f"| mean of {len(complete)} attacks | " + " | ".join(texts) + " |"
        )
    return lines


def _has_rates(cell):
    return cell is not None and all(cell.rates.values())


def _means(cells):
    return " / ".join(
        _percent(float(np.mean([cell.mean(rate) for cell in cells])))
        for rate in _RATES
    )


def _text(cell):
    """A cell in words: its rates, what is missing, what went wrong."""
    rates = [_percent(cell.mean(rate), cell.deviation(rate)) for rate in _RATES]
    notes = [_problems(cell)] if cell.problems else []
    if cell.missing and cell.seeds:
        notes.append(f"of {len(cell.seeds)} seeds so far")
    if not cell.seeds:
        return "; ".join(notes) or "to be done"
    return " / ".join(rates) + "".join(f" ({note})" for note in notes)


def _problems(cell):
    """Such as "corrupt: seed 0, 2; failed: seed 1"."""
    by_state = {}
    for seed, record in cell.problems.items():
        by_state.setdefault(record.state, []).append(str(seed))
    return "; ".join(
        f"{state}: seed {', '.join(seeds)}" for state, seeds in by_state.items()
    )


def _title(cell):
    if cell.defence is None:
        return cell.attack
    return f"{cell.attack}, {cell.defence}, {100 * cell.share:g} %"


def _percent(mean, deviation=None):
    if mean is None:
        return "unknown"
    text = f"{100 * mean:.1f}"
    return text if deviation is None else f"{text} ± {100 * deviation:.1f}"
