"""Numbers and names as a page words them."""

import json

import markupsafe

_NO_BREAK = "\u00a0"


def digits(number, digits=3):
    """A number with so many decimals."""
    return "unknown" if number is None else f"{number:.{digits}f}"


def duration(seconds):
    """Seconds in the units that suit them."""
    if seconds is None:
        return "unknown"
    if seconds < 60.0:
        return f"{seconds:.1f}{_NO_BREAK}s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min"), (seconds, "s")]
    return " ".join(f"{n}{_NO_BREAK}{unit}" for n, unit in parts if n)


def layer(text):
    """A name that may break after its slashes and underscores."""
    breaking = {"/": "/<wbr>", "_": "_<wbr>"}
    escaped = str(markupsafe.escape(text)).translate(str.maketrans(breaking))
    return name(markupsafe.Markup(escaped))


def memory(count):
    """Bytes in the unit that suits them."""
    if not count:
        return "unknown"
    if count < 2**30:
        return f"{count / 2**20:.0f}{_NO_BREAK}MiB"
    return f"{count / 2**30:.2f}{_NO_BREAK}GiB"


def name(text):
    """A name from outside: escaped, and kept from turning its line around."""
    return markupsafe.Markup("<bdi>{}</bdi>").format(text)


def percent(share):
    """A share in percent."""
    if share is None:
        return "unknown"
    return f"{100.0 * share:.1f}{_NO_BREAK}%"


def setting(value):
    """The value of a setting as it would be given."""
    return value if isinstance(value, str) else json.dumps(value)


def thousands(number):
    """A count with commas."""
    return f"{number:,}"


def threshold(value):
    """A pruning threshold, below 0 none."""
    if value < 0.0:
        return "none"
    return f"{value:.2f}" if round(value, 2) == value else f"{value:.3g}"


FILTERS = {
    "digits": digits,
    "duration": duration,
    "layer": layer,
    "memory": memory,
    "name": name,
    "percent": percent,
    "setting": setting,
    "thousands": thousands,
    "threshold": threshold,
}
