"""The table of a grid as CSV, JSON, Markdown and a figure."""

import csv
import dataclasses
import io
import pathlib
from collections.abc import Iterable

import numpy as np

from tfbackdoor.benchmark import cells as cells_module
from tfbackdoor.benchmark import plots
from tfbackdoor.benchmark import trials
from tfbackdoor.files import atomic

_COLUMNS = (
    "attack",
    "defense",
    "clean_share",
    "seeds",
    *(
        f"{rate}_{number}"
        for rate in cells_module.RATES
        for number in ("mean", "std")
    ),
    "problems",
)
_CLEAN = "none"


def write_results(
    root: pathlib.Path,
    plan: Iterable[trials.Trial],
    settings: dict,
    *,
    figure: bool = True,
) -> None:
    """Writes `results.csv`, `.json`, `.md` and `.png`, each in one step.

    Args:
        root: folder of a grid; all that it holds is shown.
        plan: trials that are shown as missing where they are not there.
        settings: of the grid.
        figure: whether `results.png` is drawn too.
    """
    everything = dict.fromkeys([*plan, *trials.find(root)])
    records = cells_module.read_records(root, everything)
    cells = cells_module.make_cells(records)
    versions = _versions(records.values())
    content = {
        "settings": settings,
        "versions": versions,
        "cells": [cell.to_json() for cell in cells],
        "trials": [_trial_to_json(*item) for item in records.items()],
    }
    atomic.write_json(root / "results.json", content)
    atomic.write_text(root / "results.csv", _to_csv(cells))
    atomic.write_text(
        root / "results.md", _to_markdown(cells, settings, versions)
    )
    if not figure:
        return
    with atomic.replaced(root / "results.png") as partial:
        plots.plot_cells(content["cells"], partial)


def describe_scores(scores: dict) -> str:
    """Accuracy and attack success of `Scores.to_json` in words."""
    shares = {
        name.replace("_", " "): cells_module.value_of(scores, field)
        for name, field in cells_module.RATES.items()
    }
    return ", ".join(
        f"{name} unknown" if share is None else f"{name} {100 * share:.1f} %"
        for name, share in shares.items()
    )


def _versions(records):
    """All versions that the finished trials were made with, by library."""
    found = {}
    for record in records:
        for name, version in record.content.get("versions", {}).items():
            found.setdefault(name, set()).add(version)
    return {name: sorted(versions) for name, versions in found.items()}


def _trial_to_json(trial, record):
    return {
        **dataclasses.asdict(trial),
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
            for rate in cells_module.RATES
            for number in (cell.mean, cell.deviation)
        ]
        row = [
            cell.attack,
            cell.defense or "",
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
        "# Attacks and defenses",
        "",
        "Clean accuracy / attack success on test images in percent, mean ± "
        "standard deviation (n - 1) over seeds. Attack success leaves out "
        "images that have the attacker's label anyway.",
    ]
    for share in shares or [None]:
        title = "Before any defense"
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
    """Lines of a table, attacks down and defenses across."""
    columns = list(dict.fromkeys(cell.defense for cell in cells))
    columns.sort(key=lambda defense: defense is not None)
    rows = {}
    for cell in cells:
        rows.setdefault(cell.attack, {})[cell.defense] = cell
    names = [defense or "before" for defense in columns]
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
        for rate in cells_module.RATES
    )


def _text(cell):
    """A cell in words: its rates, what is missing, what went wrong."""
    rates = [
        _percent(cell.mean(rate), cell.deviation(rate))
        for rate in cells_module.RATES
    ]
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
    if cell.defense is None:
        return cell.attack
    return f"{cell.attack}, {cell.defense}, {100 * cell.share:g} %"


def _percent(mean, deviation=None):
    if mean is None:
        return "unknown"
    text = f"{100 * mean:.1f}"
    return text if deviation is None else f"{text} ± {100 * deviation:.1f}"
