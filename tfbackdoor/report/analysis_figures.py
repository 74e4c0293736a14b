"""Figures of what a classifier makes of clean and of triggered images."""

import pathlib

import numpy as np

from tfbackdoor.report import canvas


def plot_embedding(
    panels: dict[str, np.ndarray],
    labels,
    path: str | pathlib.Path,
    *,
    target: int | None = None,
    method: str = "",
) -> None:
    """Where clean images, by class, and triggered ones lie.

    Args:
        panels: from title to points `(clean images + triggered images, 2)`.
        labels: a class for each clean image; these points come first.
        path: file to write.
        target: the attacker's class, which stands out, or None.
        method: str, how the points were found, as the label of the axes.
    """
    labels = np.asarray(labels)
    figure, axes = canvas.grid(1, len(panels), inches=(4.6 * len(panels), 4.6))
    for axis, (title, points) in zip(axes.flat, panels.items()):
        clean, triggered = points[: len(labels)], points[len(labels) :]
        for label in np.unique(labels):
            chosen = label == target
            axis.scatter(
                *clean[labels == label].T,
                marker=f"${label}$",
                s=32 * len(str(label)),
                linewidths=0,
                color=canvas.PALETTE[1] if chosen else "#666666",
                alpha=1.0 if chosen else 0.8,
            )
        axis.scatter(
            *triggered.T,
            marker="x",
            s=18,
            color=canvas.PALETTE[2],
            linewidths=0.9,
        )
        axis.set_title(title)
        axis.set_xlabel(f"{method} 1".strip())
        canvas.hide_ticks(axis)
    axes[0, 0].set_ylabel(f"{method} 2".strip())
    _legend_of_embedding(figure, target)
    canvas.save(figure, path)


def plot_gap(gaps: dict[str, np.ndarray], path: str | pathlib.Path) -> None:
    """Activation gaps of several classifiers, neurons in the same order.

    Args:
        gaps: from classifier name to `(neurons,)`, see `activation_gap`; the
            first one gives the order. Another number of neurons is sorted by
            itself.
        path: file to write.
    """
    figure, axes = canvas.grid(
        len(gaps), 1, inches=(6.4, 2.2 * len(gaps) + 0.4), sharey=True
    )
    first = np.asarray(next(iter(gaps.values())))
    for axis, (name, gap) in zip(axes.flat, gaps.items()):
        order = np.argsort(-(first if len(gap) == len(first) else gap))
        axis.bar(
            range(len(gap)), gap[order], width=0.9, color=canvas.PALETTE[1]
        )
        axis.axhline(0.0, color="black", linewidth=0.6)
        axis.set_title(name, fontsize=10)
        axis.set_xlim(-0.7, len(gap) - 0.3)
    axes[-1, 0].set_xlabel(f"neuron, by its gap {next(iter(gaps))}", fontsize=9)
    figure.supylabel("activation, triggered - clean", fontsize=9)
    canvas.save(figure, path)


def _legend_of_embedding(figure, target):
    from matplotlib.lines import Line2D

    marks = {"clean, the number of the class": ("$7$", "#666666")}
    if target is not None:
        marks[f"clean, target class {target}"] = (
            f"${target}$",
            canvas.PALETTE[1],
        )
    marks["triggered"] = ("x", canvas.PALETTE[2])
    figure.legend(
        handles=[
            Line2D([], [], linestyle="", marker=mark, color=colour, label=name)
            for name, (mark, colour) in marks.items()
        ],
        loc="outside lower center",
        ncols=3,
        frameon=False,
    )
