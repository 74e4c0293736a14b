"""The page of a report: one HTML file that needs no network."""

import base64
import io
import json
import math

import jinja2
import keras
import markupsafe
import numpy as np

from tfbackdoor import evaluation

# A trigger that still works on more images than this is called at work.
_ATTACK_AT_WORK = 0.1
_LARGEST_SIDE = 160
_HISTOGRAM_BINS = 20
_MOST_CLASSES = 50
# The horizontal axis of the curve holds the unpruned point left of 0.
_UNPRUNED_AT = -0.1
_AXIS = (-0.14, 1.03)
_NO_BREAK = "\u00a0"


def render(report: dict) -> str:
    """The HTML page of a report.

    Everything that comes from outside (names of classes and layers, settings,
    sentences) is escaped; there is no script and nothing to load.

    Args:
        report: as `Report.to_json` gives it.
    """
    template = _environment().get_template("report.html")
    return template.render(
        report=report,
        state=_state(report),
        rates=evaluation.SHOWN_RATES,
        chart=_chart(report),
        layers=_layers(report),
        targets=_targets(report),
    )


def picture(image, *, colours: str | None = None) -> str:
    """A PNG as a data URI, at most 160 pixels a side.

    Args:
        image: array `(height, width, 1 or 3)` in [0, 1], or with `colours`
            `(height, width)`.
        colours: name of a Matplotlib colour map from 0 to 1, or None.
    """
    image = np.nan_to_num(np.asarray(image, "float32"))
    if colours is not None:
        # Matplotlib takes a second to import: only where it is needed.
        import matplotlib

        image = matplotlib.colormaps[colours](image)[..., :3]
    picture = keras.utils.array_to_img(
        np.round(np.clip(image, 0.0, 1.0) * 255.0),
        data_format="channels_last",
        scale=False,
    )
    picture.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
    stream = io.BytesIO()
    picture.save(stream, "png")
    return "data:image/png;base64," + base64.b64encode(
        stream.getvalue()
    ).decode("ascii")


def _environment():
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tfbackdoor", "embedded"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=_percent,
        threshold=_threshold,
        thousands=_thousands,
        digits=_digits,
        duration=_duration,
        memory=_memory,
        heat=_heat,
        setting=_setting,
        name=_name,
    )
    return environment


def _state(report):
    """A colour and the words that say the same beside the verdict."""
    if report["chosen"] is None or not report["chosen"]["pruned"]:
        return "bad", "Nothing was pruned"
    left = _attack_left(report)
    if left is not None and left > _ATTACK_AT_WORK:
        return "bad", f"The trigger still works on {_percent(left)} of images"
    if report["oracle"]:
        return "caution", "Oracle: attack success had a say in the threshold"
    if report["warnings"]:
        count = len(report["warnings"])
        return "caution", f"{count} warning{'s' if count > 1 else ''} below"
    if left is None:
        return "unknown", "No warnings; attack success unknown"
    return "good", f"No warnings; attack success now {_percent(left)}"


def _attack_left(report):
    """The last known attack success in [0, 1], on test images if there."""
    for scores in (report["test_scores"], report["scores"]):
        rate = scores.get("purified", {}).get("attack_success")
        if rate and rate["images"]:
            return rate["value"]
    return None


def _chart(report):
    """Coordinates in percent of the plot, y downwards."""
    curve = report["curve"]
    series = []
    for label, field in evaluation.SHOWN_RATES.items():
        points = [
            (_across(point["threshold"]), point[field])
            for point in curve
            if point[field] and point[field]["images"]
        ]
        if points:
            series.append({"label": label, **_line(points)})
    return {
        "series": series,
        "chosen": report["chosen"] and _across(report["chosen"]["threshold"]),
        "ticks": [
            (_across(tick), f"{tick:g}") for tick in (0, 0.2, 0.4, 0.6, 0.8, 1)
        ],
        "unpruned": _across(-1.0),
    }


def _line(points):
    """The path of a line, the outline of its band, and its points."""
    line = [(x, 100.0 * (1.0 - rate["value"])) for x, rate in points]
    low, high = (
        [(x, 100.0 * (1.0 - rate["interval_95"][end])) for x, rate in points]
        for end in (0, 1)
    )
    return {
        "line": _path(line),
        "band": _path(high + low[::-1]) + "Z",
        "points": "".join(f"{_path([point])}h0" for point in line),
    }


def _path(points):
    return "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in points)


def _across(threshold):
    position = threshold if threshold >= 0.0 else _UNPRUNED_AT
    return round(100.0 * (position - _AXIS[0]) / (_AXIS[1] - _AXIS[0]), 2)


def _layers(report):
    """A row a layer with masks: counts and the bars of a histogram."""
    rows = []
    for name, mask in report["neuron_masks"].items():
        mask = np.array(mask, float)
        pruned = np.zeros(len(mask), bool)
        pruned[np.array(report["pruned"].get(name, []), int)] = True
        counts = _counts(mask)
        tallest = max(counts.max(), 1)
        finite = mask[np.isfinite(mask)]
        rows.append(
            {
                "name": name,
                "neurons": len(mask),
                "pruned": int(pruned.sum()),
                "smallest": float(finite.min()) if len(finite) else None,
                "kept_bars": _bars(counts, tallest),
                "pruned_bars": _bars(_counts(mask[pruned]), tallest),
            }
        )
    return rows


def _counts(mask):
    mask = np.clip(mask[np.isfinite(mask)], 0.0, 1.0)
    return np.histogram(mask, _HISTOGRAM_BINS, (0.0, 1.0))[0]


def _bars(counts, tallest):
    """Bars of a histogram as a path in a box of 20 to 10.

    Heights are square roots: a few suspicious neurons stay visible beside
    the many that ANP left at one.
    """
    heights = 10.0 * np.sqrt(counts / tallest)
    return "".join(
        f"M{left + 0.1:.1f} 10V{10.0 - height:.1f}h.8V10Z"
        for left, height in enumerate(heights)
        if height
    )


def _targets(report):
    """Classes of the scan by falling score, and how many are left out."""
    scan = report["target_scores"]
    if scan is None:
        return None
    scores = [-math.inf if s is None else s for s in scan["scores"]]
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    shown = order[:_MOST_CLASSES]
    if scan["suspected"] is not None and scan["suspected"] not in shown:
        shown.append(scan["suspected"])
    largest = max((abs(s) for s in scores if math.isfinite(s)), default=0.0)
    rows = [
        (index, scan["scores"][index], max(scores[index], 0.0) / (largest or 1))
        for index in shown
    ]
    return {"rows": rows, "left_out": len(order) - len(shown)}


def _percent(share):
    return "unknown" if share is None else f"{100.0 * share:.1f}{_NO_BREAK}%"


def _threshold(value):
    return "none" if value < 0.0 else f"{value:.3g}"


def _thousands(number):
    return f"{number:,}"


def _digits(number, digits=3):
    return "unknown" if number is None else f"{number:.{digits}f}"


def _duration(seconds):
    if seconds is None:
        return "unknown"
    if seconds < 60.0:
        return f"{seconds:.1f}{_NO_BREAK}s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min"), (seconds, "s")]
    return " ".join(f"{n}{_NO_BREAK}{unit}" for n, unit in parts if n)


def _memory(count):
    if not count:
        return "unknown"
    if count < 2**30:
        return f"{count / 2**20:.0f}{_NO_BREAK}MiB"
    return f"{count / 2**30:.2f}{_NO_BREAK}GiB"


def _heat(attention):
    """A picture of an attention map, from its least to its most."""
    values = np.nan_to_num(np.array(attention, float))
    spread = np.ptp(values)
    return picture(
        (values - values.min()) / (spread or 1.0), colours="inferno"
    )


def _setting(value):
    return value if isinstance(value, str) else json.dumps(value)


def _name(text):
    """A name from outside: escaped, and kept from turning its line around."""
    return markupsafe.Markup("<bdi>{}</bdi>").format(text)
