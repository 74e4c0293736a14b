"""The figures of a run, as picture files."""

import pathlib
from collections.abc import Sequence

import numpy as np

from tfbackdoor import evaluation
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
    for colour, (name, field) in zip(_COLOURS, evaluation.SHOWN_RATES.items()):
        rates = [getattr(point.scores, field) for point in curve]
        if None in rates:
            continue
        low, high = np.transpose([rate.interval for rate in rates]) * 100
        values = [100 * rate.value for rate in rates]
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
    taps = list(next(iter(maps.values())))
    figure, axes = grid(len(maps), len(taps) + 1)
    for row, (name, by_tap) in enumerate(maps.items()):
        _show_image(axes[row, 0], image)
        axes[row, 0].set_ylabel(name)
        for column, tap in enumerate(taps, start=1):
            axis = axes[row, column]
            axis.imshow(by_tap[tap], cmap="inferno")
            _hide_ticks(axis)
            if row == 0:
                axis.set_title(tap, fontsize=8)
    axes[0, 0].set_title("triggered image", fontsize=8)
    save(figure, path)


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
