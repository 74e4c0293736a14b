"""The page of a report: one HTML file that needs no network."""

import math

import jinja2
import numpy as np

from tfbackdoor import rates
from tfbackdoor.report import canvas
from tfbackdoor.report import figures
from tfbackdoor.report import pictures
from tfbackdoor.report import wording

# A trigger that works on more images than this is called at work.
_ATTACK_AT_WORK = 0.1
_MOST_CLASSES = 50
# Smaller pictures show their pixels: a trigger may be one of them.
_SMALL_PICTURE = 64
_JUDGED = {"held_out": "held-out", "test": "test"}


def render(report) -> str:
    """The HTML page of a report.

    Everything that comes from outside (names of classes and layers, settings,
    sentences) is escaped; there is no script and nothing to load.
    """
    content = report.to_json()
    template = _environment().get_template("report.html")
    return template.render(
        report=content,
        state=_state(content),
        rates=rates.SHOWN_RATES,
        curve_rates=_curve_rates(content),
        charts=_charts(report),
        layers=_layers(content),
        classes=_classes(content),
        scan=_scan(report.scan, content["scan"]),
        channels=pictures.shown_channels(content["sample_shape"]),
        small_picture=_SMALL_PICTURE,
    )


def _environment():
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tfbackdoor.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= wording.FILTERS
    environment.filters["heat_map"] = pictures.heat_map
    return environment


def _state(report):
    """A tone, and the words beside the verdict that say the same."""
    left = _attack_left(report)
    if left is not None and left > _ATTACK_AT_WORK:
        return (
            "bad",
            f"The trigger still works on {wording.percent(left)} of images",
        )
    did_else = report["hardening"] or report["unlearned"]
    if not (did_else or report["curve"]):
        return "unknown", "Nothing was changed"
    if report["chosen"] is None and not did_else:
        return "bad", "No safe threshold: nothing was pruned"
    if report["oracle"]:
        return "caution", "Oracle: attack success had a say in the threshold"
    if report["warnings"]:
        count = len(report["warnings"])
        return "caution", f"{count} warning{'s' if count > 1 else ''} below"
    if not (did_else or report["chosen"]["pruned"]):
        return "unknown", "Nothing was pruned"
    if left is None:
        return "unknown", "No warnings; attack success unknown"
    return "good", f"No warnings; attack success now {wording.percent(left)}"


def _attack_left(report):
    """The purified classifier's attack success, on test images if there."""
    for scores in (report["test_scores"], report["scores"]):
        rate = scores.get("purified", {}).get("attack_success")
        if rate and rate["images"]:
            return rate["value"]
    return None


def _curve_rates(report):
    """The rates that are known of a point of the curve, by label."""
    return {
        label: field
        for label, field in rates.SHOWN_RATES.items()
        if any(
            point[field] and point[field]["images"] for point in report["curve"]
        )
    }


def _charts(report):
    """The figures that there is something to draw for, as data URIs."""
    drawn = {}
    if report.curve:
        chosen = report.chosen and report.chosen.threshold
        drawn["curve"] = figures.draw_curve(
            report.curve, chosen=chosen, images="held-out images"
        )
    if report.neuron_masks:
        drawn["masks"] = figures.draw_pruned(report.neuron_masks, report.pruned)
    return {
        name: pictures.data_uri(canvas.to_svg(figure).encode(), "image/svg+xml")
        for name, figure in drawn.items()
    }


def _layers(report):
    """A row for each layer with masks."""
    rows = []
    for name, mask in report["neuron_masks"].items():
        mask = np.array(mask, float)
        rows.append(
            {
                "name": name,
                "neurons": len(mask),
                "pruned": len(report["pruned"].get(name, [])),
                "smallest": np.nanmin(mask)
                if np.isfinite(mask).any()
                else None,
            }
        )
    return rows


def _classes(report):
    """The classes, those that lost most first, and how many are left out."""
    rows = sorted(report["classes"], key=_largest_loss, reverse=True)
    judged = [
        (images, label)
        for images, label in _JUDGED.items()
        if any(row[images] for row in rows)
    ]
    return _shortened(rows) | {"judged": judged}


def _largest_loss(row):
    """The share of its images that a class lost, where it lost most."""
    return max(
        (
            recall["before"]["value"] - recall["purified"]["value"]
            for recall in (row[images] for images in _JUDGED)
            if recall is not None
        ),
        default=0.0,
    )


def _scan(scan, content):
    """What the scan says, and the classes, suspects and anomalies first."""
    if scan is None:
        return None
    missing = [None] * len(content["anomalies"])
    rows = [
        {
            "class": label,
            "anomaly": anomaly,
            "errors": errors,
            "margin": margin,
            "wave": wave,
            "suspected": label in content["suspects"],
        }
        for label, (anomaly, errors, margin, wave) in enumerate(
            zip(
                content["anomalies"],
                content["error_shares"],
                content["margins"] or missing,
                content["wave_answers"] or missing,
            )
        )
    ]
    rows.sort(
        key=lambda row: (row["suspected"], _or_least(row["anomaly"])),
        reverse=True,
    )
    return _shortened(rows) | {
        "verdict": str(scan),
        "probability": content["probability"],
    }


def _or_least(number):
    return -math.inf if number is None else number


def _shortened(rows):
    return {
        "rows": rows[:_MOST_CLASSES],
        "left_out": max(0, len(rows) - _MOST_CLASSES),
    }
