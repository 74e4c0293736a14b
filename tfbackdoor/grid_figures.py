"""Figures of a grid, drawn from the cells of its `results.json`."""

import pathlib
from collections.abc import Sequence

import numpy as np

from tfbackdoor import figures

_TITLES = {
    "accuracy": "clean accuracy, %",
    "attack_success": "attack success, %",
}
_SPREAD = 0.7
_PANELS_A_ROW = 4


def plot_cells(cells: Sequence[dict], path: str | pathlib.Path) -> None:
    """Accuracy and attack success of every attack, before and after defences.

    One column of panels a share of clean data; the bars are standard
    deviations over seeds.

    Args:
        cells: of `results.json`.
        path: file to write.
    """
    attacks = list(dict.fromkeys(cell["attack"] for cell in cells))
    defences = _defences(cells)
    shares = _shares(cells) or [None]
    inches = (max(4.5, 0.62 * len(attacks) + 1.2) * len(shares), 6.4)
    figure, axes = figures.grid(2, len(shares), inches=inches, sharey="row")
    for column, share in enumerate(shares):
        for axis, rate in zip(axes[:, column], _TITLES):
            for index, defence in enumerate(defences):
                shown = [
                    cell
                    for cell in cells
                    if cell["defence"] == defence
                    and cell["clean_share"] in (None, share)
                ]
                offset = _SPREAD * ((index + 0.5) / len(defences) - 0.5)
                where = [attacks.index(c["attack"]) + offset for c in shown]
                _points(axis, where, shown, rate, index, defence or "before")
            axis.set_xlim(-0.6, len(attacks) - 0.4)
            axis.set_ylim(-4, 104)
            axis.set_xticks(range(len(attacks)), [])
            axis.grid(axis="y", alpha=0.3)
            for edge in np.arange(len(attacks) - 1) + 0.5:
                axis.axvline(edge, color="black", alpha=0.12, linewidth=0.8)
        if share is not None:
            axes[0, column].set_title(f"{100 * share:g} % clean data")
        axes[1, column].set_xticks(
            range(len(attacks)), attacks, rotation=40, ha="right"
        )
    for axis, title in zip(axes[:, 0], _TITLES.values()):
        axis.set_ylabel(title)
    _legend(figure, axes[0, 0])
    figures.save(figure, path)


def plot_shares(cells: Sequence[dict], path: str | pathlib.Path) -> None:
    """Attack success after each defence against the share of clean data.

    A panel an attack; the dotted line is attack success before any defence.

    Args:
        cells: of `results.json`.
        path: file to write.

    Raises:
        ValueError: where no defence was scored.
    """
    shares = _shares(cells)
    defences = [defence for defence in _defences(cells) if defence]
    scored = [c for c in cells if c["attack_success"]["mean"] is not None]
    attacks = list(dict.fromkeys(c["attack"] for c in scored if c["defence"]))
    if not attacks:
        raise ValueError(
            "`cells` must hold attack success after a defence. Received: none."
        )
    columns = min(_PANELS_A_ROW, len(attacks))
    rows = -(-len(attacks) // columns)
    figure, axes = figures.grid(
        rows,
        columns,
        inches=(max(2.6 * columns, 4.5) + 0.4, 2.4 * rows + 0.8),
        sharex=True,
        sharey=True,
    )
    for axis, attack in zip(axes.flat, attacks):
        for index, defence in enumerate(defences, start=1):
            shown = [
                cell
                for cell in scored
                if (cell["attack"], cell["defence"]) == (attack, defence)
            ]
            shown.sort(key=lambda cell: cell["clean_share"])
            where = [100 * cell["clean_share"] for cell in shown]
            _points(
                axis, where, shown, "attack_success", index, defence, line="-"
            )
        for cell in scored:
            if (cell["attack"], cell["defence"]) == (attack, None):
                axis.axhline(
                    100 * cell["attack_success"]["mean"],
                    color="black",
                    linestyle=":",
                    label="before",
                )
        axis.set_title(attack, fontsize=9)
        axis.set_ylim(-4, 104)
        axis.set_xscale("log")
        axis.set_xticks([100 * share for share in shares])
        axis.set_xticks([], minor=True)
        axis.set_xticklabels([f"{100 * share:g}" for share in shares])
        axis.grid(axis="y", alpha=0.3)
    for axis in axes.flat[len(attacks) :]:
        axis.set_visible(False)
    figure.supxlabel("clean data, % of the training images", fontsize=9)
    figure.supylabel("attack success, %", fontsize=9)
    _legend(figure, axes[0, 0])
    figures.save(figure, path)


def _points(axis, where, cells, rate, index, label, *, line=""):
    """Means with their deviations, in the colour and mark of a defence."""
    known = [
        (x, 100 * cell[rate]["mean"], 100 * (cell[rate]["std"] or 0.0))
        for x, cell in zip(where, cells)
        if cell[rate]["mean"] is not None
    ]
    x, y, error = zip(*known) if known else ((), (), ())
    axis.errorbar(
        x,
        y,
        error,
        linestyle=line,
        linewidth=1.2,
        marker=figures.MARKS[index % len(figures.MARKS)],
        color=figures.PALETTE[index % len(figures.PALETTE)],
        markersize=5,
        capsize=2,
        label=label,
    )


def _legend(figure, axis):
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside upper center",
        ncols=min(len(labels), 6),
        frameon=False,
        fontsize=9,
    )


def _defences(cells):
    """None, for before any, and the defences in the order of the cells."""
    return list(dict.fromkeys([None, *(cell["defence"] for cell in cells)]))


def _shares(cells):
    return sorted({c["clean_share"] for c in cells} - {None})
