"""Pictures and charts as text that a page can hold."""

import base64
import io

import keras
import numpy as np

from tfbackdoor import rates

_LARGEST_SIDE = 128
_BINS = 20
# The horizontal axis of the curve holds the unpruned point left of 0.
_UNPRUNED_AT = -0.1
_AXIS = (-0.14, 1.03)
_TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def picture(image) -> str:
    """A PNG as a data URI, made smaller to at most 128 pixels a side.

    Args:
        image: array `(height, width, 1 or 3)` in [0, 1].
    """
    values = np.clip(np.nan_to_num(np.asarray(image, "float32")), 0.0, 1.0)
    picture = keras.utils.array_to_img(
        np.round(values * 255.0), data_format="channels_last", scale=False
    )
    picture.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
    stream = io.BytesIO()
    picture.save(stream, "png")
    encoded = base64.b64encode(stream.getvalue()).decode("ascii")
    return f"data:image/png;base64,{encoded}"


def heat_map(values) -> str:
    """A picture of values, from dark at the least to bright at the most.

    Args:
        values: nested lists or array `(height, width)` of any range.
    """
    # Matplotlib takes a second to import: only where it is needed.
    import matplotlib

    values = np.nan_to_num(np.array(values, float))
    shares = (values - values.min()) / (np.ptp(values) or 1.0)
    return picture(matplotlib.colormaps["inferno"](shares)[..., :3])


def histogram(neuron_mask, pruned) -> dict[str, str]:
    """Bars of all and of the pruned neurons, as paths in a box of 20 to 10.

    Heights are square roots: a few suspicious neurons stay visible beside
    the many that ANP leaves at one.

    Args:
        neuron_mask: array `(neurons,)` in [0, 1].
        pruned: indices.
    """
    everyone = _counts(neuron_mask)
    tallest = max(everyone.max(), 1)
    return {
        "all": _bars(everyone / tallest),
        "pruned": _bars(_counts(neuron_mask[pruned]) / tallest),
    }


def curve_lines(report: dict) -> dict:
    """Where a pruning curve runs, in percent of the plot, y downwards.

    Args:
        report: as `Report.to_json` gives it.

    Returns:
        `series`, a dict of paths for each rate that is known; `chosen`, where
        the chosen threshold is, or None; `ticks`, where which label is.
    """
    series = []
    for label, field in rates.SHOWN_RATES.items():
        points = [
            (_across(point["threshold"]), point[field])
            for point in report["curve"]
            if point[field] and point[field]["images"]
        ]
        if points:
            series.append({"label": label, "field": field, **_line(points)})
    chosen = report["chosen"]
    return {
        "series": series,
        "chosen": None if chosen is None else _across(chosen["threshold"]),
        "ticks": [(_across(-1.0), "none")]
        + [(_across(tick), f"{tick:g}") for tick in _TICKS],
    }


def _line(points):
    """The path of a line, the outline of its band, and its points."""
    line = [(x, rate["value"]) for x, rate in points]
    low, high = (
        [(x, rate["interval_95"][end]) for x, rate in points] for end in (0, 1)
    )
    return {
        "line": _path(line),
        "band": _path(high + low[::-1]) + "Z",
        "dots": "".join(f"{_path([point])}h0" for point in line),
    }


def _path(points):
    return "M" + "L".join(
        f"{x:.2f} {100.0 * (1.0 - share):.2f}" for x, share in points
    )


def _across(threshold):
    position = threshold if threshold >= 0.0 else _UNPRUNED_AT
    return round(100.0 * (position - _AXIS[0]) / (_AXIS[1] - _AXIS[0]), 2)


def _counts(neuron_mask):
    finite = neuron_mask[np.isfinite(neuron_mask)]
    return np.histogram(np.clip(finite, 0.0, 1.0), _BINS, (0.0, 1.0))[0]


def _bars(shares):
    return "".join(
        f"M{left + 0.1:.1f} 10V{10.0 - 10.0 * share**0.5:.1f}h.8V10Z"
        for left, share in enumerate(shares)
        if share
    )
