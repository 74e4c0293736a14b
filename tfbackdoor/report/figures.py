"""The figures of a run, as picture files."""

import pathlib
from collections.abc import Sequence

import numpy as np

from tfbackdoor import rates
from tfbackdoor.defenses import pruning

# Okabe & Ito's colours, which the colour-blind tell apart, dark ones first.
PALETTE = (
    "#000000",
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
)
MARKS = ("o", "s", "^", "D", "v", "P", "X")
_COLOURS = ("#1b6ca8", "#c0392b", "#6b8e23", "#777777")
_CELL_INCHES = 1.5
_DPI = 120


def plot_samples(images, triggered, labels, path: str | pathlib.Path) -> None:
    """Clean images above the same images with the trigger.

    Args:
        images: array `(count, height, width, channels)` in [0, 1].
        triggered: array of the same shape.
        labels: `(count,)` integers.
        path: file to write.
    """
    figure, axes = grid(2, len(images))
    for column, label in enumerate(labels):
        _show_image(axes[0, column], images[column])
        _show_image(axes[1, column], triggered[column])
        axes[0, column].set_title(f"class {label}", fontsize=9)
    axes[0, 0].set_ylabel("clean")
    axes[1, 0].set_ylabel("triggered")
    save(figure, path)


def plot_curve(
    curve: Sequence[pruning.CurvePoint],
    path: str | pathlib.Path,
    *,
    chosen: float | None = None,
) -> None:
    """Accuracy and attack success against the pruning threshold.

    Args:
        curve: of `pruning_curve` on test images.
        path: file to write.
        chosen: the threshold that was chosen, marked by a line, or None.
    """
    figure, axes = grid(1, 1, inches=(6.4, 4.0))
    axis = axes[0, 0]
    thresholds = [max(point.threshold, 0.0) for point in curve]
    for colour, (name, field) in zip(_COLOURS, rates.SHOWN_RATES.items()):
        of_points = [getattr(point.scores, field) for point in curve]
        if None in of_points:
            continue
        low, high = np.transpose([rate.interval for rate in of_points]) * 100
        values = [100 * rate.value for rate in of_points]
        axis.plot(thresholds, values, ".-", color=colour, label=name)
        axis.fill_between(
            thresholds, low, high, color=colour, alpha=0.15, linewidth=0
        )
    if chosen is not None:
        axis.axvline(chosen, color="black", linestyle=":", label="chosen")
    axis.set_xlabel("pruning threshold")
    axis.set_ylabel("test images, %")
    axis.set_ylim(-2, 102)
    axis.legend(frameon=False)
    save(figure, path)


def plot_masks(
    neuron_masks: dict[str, np.ndarray],
    path: str | pathlib.Path,
    *,
    chosen: float | None = None,
) -> None:
    """A histogram of the neuron masks of each layer.

    Args:
        neuron_masks: from layer name to mask.
        path: file to write.
        chosen: the pruning threshold, marked by a line, or None.
    """
    columns = min(4, len(neuron_masks))
    rows = -(-len(neuron_masks) // columns)
    figure, axes = grid(
        rows, columns, inches=(2.6 * columns, 1.7 * rows), sharex=True
    )
    for axis, (name, mask) in zip(axes.flat, neuron_masks.items()):
        axis.hist(mask, bins=np.linspace(0, 1, 21), color=_COLOURS[0])
        axis.set_title(f"{name} ({len(mask)})", fontsize=8)
        if chosen is not None:
            axis.axvline(chosen, color="black", linestyle=":")
    for axis in axes.flat[len(neuron_masks) :]:
        axis.set_visible(False)
    figure.supxlabel("neuron mask", fontsize=9)
    figure.supylabel("neurons", fontsize=9)
    save(figure, path)


def plot_attention(
    image, maps: dict[str, dict[str, np.ndarray]], path: str | pathlib.Path
) -> None:
    """Attention maps of several classifiers on one image.

    Args:
        image: array `(height, width, channels)` in [0, 1].
        maps: from classifier name to a dict from tap to its attention map
            `(height, width)`.
        path: file to write.
    """
    rows = {name: (image, by_tap) for name, by_tap in maps.items()}
    plot_attention_rows(rows, path, title="triggered image")


def plot_attention_rows(
    rows: dict[str, tuple], path: str | pathlib.Path, *, title: str = "image"
) -> None:
    """Attention maps, each row with an image of its own.

    Args:
        rows: from row name to an image `(height, width, channels)` in [0, 1]
            and a dict from tap to the attention map `(height, width)` on it.
        path: file to write.
        title: what the images are called.
    """
    taps = list(next(iter(rows.values()))[1])
    figure, axes = grid(len(rows), len(taps) + 1)
    for row, (name, (image, by_tap)) in enumerate(rows.items()):
        _show_image(axes[row, 0], image)
        axes[row, 0].set_ylabel(name)
        for column, tap in enumerate(taps, start=1):
            axis = axes[row, column]
            axis.imshow(by_tap[tap], cmap="inferno")
            _hide_ticks(axis)
            if row == 0:
                axis.set_title(tap, fontsize=8)
    axes[0, 0].set_title(title, fontsize=8)
    figure.supxlabel("attention of each map: dark low, bright high", fontsize=8)
    save(figure, path)


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
    figure, axes = grid(1, len(panels), inches=(4.6 * len(panels), 4.6))
    for axis, (title, points) in zip(axes.flat, panels.items()):
        clean, triggered = points[: len(labels)], points[len(labels) :]
        for label in np.unique(labels):
            chosen = label == target
            axis.scatter(
                *clean[labels == label].T,
                marker=f"${label}$",
                s=32 * len(str(label)),
                linewidths=0,
                color=PALETTE[1] if chosen else "#666666",
                alpha=1.0 if chosen else 0.8,
            )
        axis.scatter(
            *triggered.T, marker="x", s=18, color=PALETTE[2], linewidths=0.9
        )
        axis.set_title(title)
        axis.set_xlabel(f"{method} 1".strip())
        _hide_ticks(axis)
    axes[0, 0].set_ylabel(f"{method} 2".strip())
    _legend_of_embedding(figure, target)
    save(figure, path)


def plot_gap(gaps: dict[str, np.ndarray], path: str | pathlib.Path) -> None:
    """Activation gaps of several classifiers, neurons in the same order.

    Args:
        gaps: from classifier name to `(neurons,)`, see `activation_gap`; the
            first one gives the order. Another number of neurons is sorted by
            itself.
        path: file to write.
    """
    figure, axes = grid(
        len(gaps), 1, inches=(6.4, 2.2 * len(gaps) + 0.4), sharey=True
    )
    first = np.asarray(next(iter(gaps.values())))
    for axis, (name, gap) in zip(axes.flat, gaps.items()):
        order = np.argsort(-(first if len(gap) == len(first) else gap))
        axis.bar(range(len(gap)), gap[order], width=0.9, color=PALETTE[1])
        axis.axhline(0.0, color="black", linewidth=0.6)
        axis.set_title(name, fontsize=10)
        axis.set_xlim(-0.7, len(gap) - 0.3)
    axes[-1, 0].set_xlabel(f"neuron, by its gap {next(iter(gaps))}", fontsize=9)
    figure.supylabel("activation, triggered - clean", fontsize=9)
    save(figure, path)


def _legend_of_embedding(figure, target):
    from matplotlib.lines import Line2D

    marks = {"clean, the number of the class": ("$7$", "#666666")}
    if target is not None:
        marks[f"clean, target class {target}"] = (f"${target}$", PALETTE[1])
    marks["triggered"] = ("x", PALETTE[2])
    figure.legend(
        handles=[
            Line2D([], [], linestyle="", marker=mark, color=colour, label=name)
            for name, (mark, colour) in marks.items()
        ],
        loc="outside lower center",
        ncols=3,
        frameon=False,
    )


def grid(rows: int, columns: int, *, inches=None, **kwargs):
    """A figure and its axes `(rows, columns)`."""
    # Figures without pyplot need no display and leave no global state.
    from matplotlib.figure import Figure

    inches = inches or (_CELL_INCHES * columns, _CELL_INCHES * rows + 0.3)
    figure = Figure(figsize=inches, dpi=_DPI, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **kwargs)


def _show_image(axis, image):
    image = np.clip(np.asarray(image), 0.0, 1.0)
    if image.shape[-1] == 1:
        axis.imshow(image[..., 0], cmap="gray", vmin=0.0, vmax=1.0)
    else:
        axis.imshow(image)
    _hide_ticks(axis)


def _hide_ticks(axis):
    axis.set_xticks([])
    axis.set_yticks([])


def save(figure, path: str | pathlib.Path) -> None:
    """Writes a figure as the kind of picture that its name ends in."""
    figure.savefig(path)
