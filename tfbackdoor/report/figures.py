"""The figures of a run, as picture files."""

import pathlib
from collections.abc import Sequence

import numpy as np

from tfbackdoor import rates
from tfbackdoor.defenses import pruning
from tfbackdoor.report import canvas

_COLOURS = ("#1b6ca8", "#c0392b", "#6b8e23")
_KEPT, _PRUNED = "#8fa3b5", "#c0392b"
_BINS = np.linspace(0.0, 1.0, 21)
# The unpruned point of a curve lies left of the threshold 0.
_UNPRUNED_AT = -0.1


def plot_samples(images, triggered, labels, path: str | pathlib.Path) -> None:
    """Clean images above the same images with the trigger.

    Args:
        images: array `(count, height, width, channels)` in [0, 1].
        triggered: array of the same shape.
        labels: `(count,)` integers.
        path: file to write.
    """
    figure, axes = canvas.grid(2, len(images))
    for column, label in enumerate(labels):
        _show_image(axes[0, column], images[column])
        _show_image(axes[1, column], triggered[column])
        axes[0, column].set_title(f"class {label}", fontsize=9)
    axes[0, 0].set_ylabel("clean")
    axes[1, 0].set_ylabel("triggered")
    canvas.save(figure, path)


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
    canvas.save(draw_curve(curve, chosen=chosen), path)


def draw_curve(
    curve: Sequence[pruning.CurvePoint],
    *,
    chosen: float | None = None,
    images: str = "test images",
):
    """The figure of `plot_curve`; `images` is what the axis calls them."""
    figure, axes = canvas.grid(1, 1, inches=(6.4, 4.0))
    axis = axes[0, 0]
    for colour, (name, field) in zip(_COLOURS, rates.SHOWN_RATES.items()):
        known = [
            (_across(point.threshold), rate.value, *rate.interval)
            for point in curve
            for rate in [getattr(point.scores, field)]
            if rate is not None and rate.total
        ]
        if not known:
            continue
        where, *shares = np.transpose(known)
        value, low, high = 100 * np.array(shares)
        axis.plot(where, value, ".-", color=colour, label=name)
        axis.fill_between(
            where, low, high, color=colour, alpha=0.15, linewidth=0
        )
    if chosen is not None:
        axis.axvline(
            _across(chosen), color="black", linestyle=":", label="chosen"
        )
    ticks = np.linspace(0.0, 1.0, 6)
    labels = ["none", *(f"{tick:g}" for tick in ticks)]
    axis.set_xticks([_UNPRUNED_AT, *ticks], labels)
    axis.set_xlim(_UNPRUNED_AT - 0.04, 1.03)
    axis.set_xlabel("pruning threshold")
    axis.set_ylabel(f"{images}, %")
    axis.set_ylim(-2, 102)
    axis.grid(axis="y", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    return figure


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
    figure, axes = canvas.panels(
        len(neuron_masks), cell=(2.6, 1.7), sharex=True
    )
    for axis, (name, mask) in zip(axes, neuron_masks.items()):
        axis.hist(mask, bins=_BINS, color=_COLOURS[0])
        canvas.set_title(axis, f"{name} ({len(mask)})")
        if chosen is not None:
            axis.axvline(chosen, color="black", linestyle=":")
    figure.supxlabel("neuron mask", fontsize=9)
    figure.supylabel("neurons", fontsize=9)
    canvas.save(figure, path)


def draw_pruned(
    neuron_masks: dict[str, np.ndarray], pruned: dict[str, np.ndarray]
):
    """A histogram of all neuron masks, those of pruned neurons apart.

    Args:
        neuron_masks: from layer name to mask.
        pruned: from layer name to the indices of its pruned neurons.
    """
    parts = {"kept": [], "pruned": []}
    for layer, mask in neuron_masks.items():
        gone = np.isin(np.arange(len(mask)), pruned.get(layer, ()))
        parts["kept"].append(mask[~gone])
        parts["pruned"].append(mask[gone])
    values = [np.concatenate(part) for part in parts.values()]
    figure, axes = canvas.grid(1, 1, inches=(6.4, 2.8))
    axis = axes[0, 0]
    axis.hist(
        [mask[np.isfinite(mask)] for mask in values],
        bins=_BINS,
        stacked=True,
        color=[_KEPT, _PRUNED],
        label=list(parts),
    )
    # A few suspicious neurons stay visible beside the many near 1.
    axis.set_yscale("symlog", linthresh=1.0)
    axis.yaxis.set_major_formatter("{x:g}")
    axis.set_xlim(0.0, 1.0)
    axis.set_xlabel("neuron mask")
    axis.set_ylabel("neurons")
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


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
    figure, axes = canvas.grid(len(rows), len(taps) + 1)
    for row, (name, (image, by_tap)) in enumerate(rows.items()):
        _show_image(axes[row, 0], image)
        axes[row, 0].set_ylabel(name)
        for column, tap in enumerate(taps, start=1):
            axis = axes[row, column]
            axis.imshow(by_tap[tap], cmap="inferno")
            canvas.hide_ticks(axis)
            if row == 0:
                canvas.set_title(axis, tap)
    axes[0, 0].set_title(title, fontsize=8)
    figure.supxlabel("attention of each map: dark low, bright high", fontsize=8)
    canvas.save(figure, path)


def _show_image(axis, image):
    image = np.clip(np.asarray(image), 0.0, 1.0)
    if image.shape[-1] == 1:
        axis.imshow(image[..., 0], cmap="gray", vmin=0.0, vmax=1.0)
    else:
        axis.imshow(image)
    canvas.hide_ticks(axis)


def _across(threshold):
    return threshold if threshold >= 0.0 else _UNPRUNED_AT
