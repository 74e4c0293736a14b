"""Figures of a grid, drawn from the cells of its `results.json`."""

import pathlib
from collections.abc import Sequence

from tfbackdoor.report import canvas

_TITLES = {
    "accuracy": "clean accuracy, %",
    "attack_success": "attack success, %",
}
_SPREAD = 0.7
_SHARE_STEP = 1.4  # Less than between shares that one compares.
_LEGEND_ENTRY = 2.0  # Inches that the longest name takes.


def plot_cells(cells: Sequence[dict], path: str | pathlib.Path) -> None:
    """Accuracy and attack success of every attack, before and after defenses.

    Two panels a share of clean data; the bars are standard deviations over
    seeds.

    Args:
        cells: of `results.json`.
        path: file to write.
    """
    attacks = list(dict.fromkeys(cell["attack"] for cell in cells))
    shares = _shares(cells) or [None]
    inches = (max(5.5, 0.62 * len(attacks) + 1.2), 5.0 * len(shares) + 1.2)
    figure, axes = canvas.grid(2 * len(shares), 1, inches=inches)
    for row, axis in enumerate(axes.flat):
        share, rate = shares[row // 2], list(_TITLES)[row % 2]
        shown = [c for c in cells if c["clean_share"] in (None, share)]
        _plot_rate(axis, shown, attacks, rate)
        if share is not None and row % 2 == 0:
            axis.set_title(f"{100 * share:g} % clean data", fontsize=10)
    axes[-1, 0].set_xticks(
        range(len(attacks)), attacks, rotation=40, ha="right"
    )
    _legend(figure, axes[0, 0])
    canvas.save(figure, path)


def plot_shares(cells: Sequence[dict], path: str | pathlib.Path) -> None:
    """Attack success after each defense against the share of clean data.

    A panel an attack; the dotted line is attack success before any defense.

    Args:
        cells: of `results.json`.
        path: file to write.

    Raises:
        ValueError: where no defense was scored.
    """
    shares = _shares(cells)
    defenses = [defense for defense in _defenses(cells) if defense]
    scored = [c for c in cells if c["attack_success"]["mean"] is not None]
    attacks = list(dict.fromkeys(c["attack"] for c in scored if c["defense"]))
    if not attacks:
        raise ValueError(
            "`cells` must hold attack success after a defense. Received: none."
        )
    figure, axes = canvas.panels(
        len(attacks),
        cell=(2.6, 2.4),
        margin=(0.4 if len(attacks) > 1 else 2.3, 0.8),
        sharey=True,
    )
    for axis, attack in zip(axes, attacks):
        for index, defense in enumerate(defenses, start=1):
            beside = _SHARE_STEP ** _offset(index - 1, len(defenses))
            shown = [
                cell
                for cell in scored
                if (cell["attack"], cell["defense"]) == (attack, defense)
            ]
            shown.sort(key=lambda cell: cell["clean_share"])
            where = [100 * cell["clean_share"] * beside for cell in shown]
            _points(
                axis, where, shown, "attack_success", index, defense, line="-"
            )
        for cell in scored:
            if (cell["attack"], cell["defense"]) == (attack, None):
                axis.axhline(
                    100 * cell["attack_success"]["mean"],
                    color="black",
                    linestyle=":",
                    label="before",
                )
        axis.set_title(attack, fontsize=9)
        axis.set_ylim(-4, 104)
        axis.set_xscale("log")
        axis.set_xlim(
            100 * shares[0] / _SHARE_STEP, 100 * shares[-1] * _SHARE_STEP
        )
        axis.set_xticks([100 * share for share in shares])
        axis.set_xticks([], minor=True)
        axis.set_xticklabels([f"{100 * share:g}" for share in shares])
        axis.grid(axis="y", alpha=0.3)
    figure.supxlabel("clean data, % of the training images", fontsize=9)
    figure.supylabel("attack success, %", fontsize=9)
    _legend(figure, axes[0])
    canvas.save(figure, path)


def _plot_rate(axis, cells, attacks, rate):
    """A rate of each attack, the defenses side by side."""
    defenses = _defenses(cells)
    for index, defense in enumerate(defenses):
        shown = [cell for cell in cells if cell["defense"] == defense]
        offset = _offset(index, len(defenses))
        where = [attacks.index(cell["attack"]) + offset for cell in shown]
        _points(axis, where, shown, rate, index, defense or "before")
    for edge in range(1, len(attacks)):
        axis.axvline(edge - 0.5, color="black", alpha=0.12, linewidth=0.8)
    axis.set_xlim(-0.6, len(attacks) - 0.4)
    axis.set_ylim(-4, 104)
    axis.set_xticks(range(len(attacks)), [])
    axis.set_ylabel(_TITLES[rate])
    axis.grid(axis="y", alpha=0.3)


def _offset(index, number):
    """Where the one of so many that lie side by side lies around 0."""
    return _SPREAD * ((index + 0.5) / number - 0.5)


def _points(axis, where, cells, rate, index, label, *, line=""):
    """Means with their deviations, in the colour and mark of a defense."""
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
        marker=canvas.MARKS[index % len(canvas.MARKS)],
        color=canvas.PALETTE[index % len(canvas.PALETTE)],
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
        ncols=max(1, int(figure.get_figwidth() / _LEGEND_ENTRY)),
        frameon=False,
        fontsize=9,
    )


def _defenses(cells):
    """None, for before any, and the defenses in the order of the cells."""
    return list(dict.fromkeys([None, *(cell["defense"] for cell in cells)]))


def _shares(cells):
    return sorted({c["clean_share"] for c in cells} - {None})
