"""The page of a report: one HTML file that needs no network."""

import json
import math

import jinja2
import markupsafe
import numpy as np

from tfbackdoor import rates
from tfbackdoor.report import drawing

# A trigger that works on more images than this is called at work.
_ATTACK_AT_WORK = 0.1
_MOST_CLASSES = 50
# Smaller pictures show their pixels: a trigger may be one of them.
_SMALL_PICTURE = 64
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
        rates=rates.SHOWN_RATES,
        chart=drawing.curve_lines(report),
        layers=_layers(report),
        targets=_targets(report),
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
    environment.filters.update(
        digits=_digits,
        duration=_duration,
        heat_map=drawing.heat_map,
        layer=_layer,
        memory=_memory,
        name=_name,
        percent=_percent,
        setting=_setting,
        thousands=_thousands,
        threshold=_threshold,
    )
    return environment


def _state(report):
    """A tone, and the words beside the verdict that say the same."""
    left = _attack_left(report)
    if left is not None and left > _ATTACK_AT_WORK:
        return "bad", f"The trigger still works on {_percent(left)} of images"
    if not report["curve"]:
        return "unknown", "Nothing was changed"
    if report["chosen"] is None and not report["unlearned"]:
        return "bad", "No safe threshold: nothing was pruned"
    if report["oracle"]:
        return "caution", "Oracle: attack success had a say in the threshold"
    if report["warnings"]:
        count = len(report["warnings"])
        return "caution", f"{count} warning{'s' if count > 1 else ''} below"
    if not (report["unlearned"] or report["chosen"]["pruned"]):
        return "unknown", "Nothing was pruned"
    if left is None:
        return "unknown", "No warnings; attack success unknown"
    return "good", f"No warnings; attack success now {_percent(left)}"


def _attack_left(report):
    """The purified classifier's attack success, on test images if there."""
    for scores in (report["test_scores"], report["scores"]):
        rate = scores.get("purified", {}).get("attack_success")
        if rate and rate["images"]:
            return rate["value"]
    return None


def _layers(report):
    """A row a layer with masks: counts and histogram."""
    rows = []
    for name, mask in report["neuron_masks"].items():
        mask = np.array(mask, float)
        pruned = np.array(report["pruned"].get(name, []), int)
        smallest = np.nanmin(mask) if np.isfinite(mask).any() else None
        rows.append(
            {
                "name": name,
                "neurons": len(mask),
                "pruned": len(pruned),
                "smallest": smallest,
                "bars": drawing.histogram(mask, pruned),
            }
        )
    return rows


def _targets(report):
    """Classes of the scan by falling score, and how many are left out."""
    scan = report["target_scores"]
    if scan is None:
        return None
    scores = [-math.inf if score is None else score for score in scan["scores"]]
    shown = sorted(range(len(scores)), key=lambda index: -scores[index])
    shown = shown[:_MOST_CLASSES]
    if scan["suspected"] is not None and scan["suspected"] not in shown:
        shown.append(scan["suspected"])
    largest = max([*scores, 0.0]) or 1.0
    return {
        "rows": [
            (
                index,
                scan["scores"][index],
                max(scores[index], 0.0) / largest,
                scan["error_shares"][index],
            )
            for index in shown
        ],
        "left_out": len(scores) - len(shown),
    }


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


def _layer(text):
    """A name that may break after its slashes and underscores."""
    breaking = {"/": "/<wbr>", "_": "_<wbr>"}
    escaped = str(markupsafe.escape(text)).translate(str.maketrans(breaking))
    return _name(markupsafe.Markup(escaped))


def _memory(count):
    if not count:
        return "unknown"
    if count < 2**30:
        return f"{count / 2**20:.0f}{_NO_BREAK}MiB"
    return f"{count / 2**30:.2f}{_NO_BREAK}GiB"


def _name(text):
    """A name from outside: escaped, and kept from turning its line around."""
    return markupsafe.Markup("<bdi>{}</bdi>").format(text)


def _percent(share):
    return f"{100.0 * share:.1f}{_NO_BREAK}%"


def _setting(value):
    return value if isinstance(value, str) else json.dumps(value)


def _thousands(number):
    return f"{number:,}"


def _threshold(value):
    if value < 0.0:
        return "none"
    return f"{value:.2f}" if round(value, 2) == value else f"{value:.3g}"
