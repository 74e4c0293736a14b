"""What an error says, in one line that is fit to print."""

import re

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# Keras puts the config of a layer before the reason, or behind it.
_BEFORE_REASON = "Exception encountered: "
_BEHIND_REASON = (" Full object config:", " config={'module':")


def one_line(error: BaseException | str, *, limit: int = 500) -> str:
    """The reason in an error's message.

    Without the configs that Keras wraps it in, and without what a file could
    do to a terminal. Of a long one the beginning and the end are kept.

    Args:
        error: the error, or its message.
        limit: int, characters that are kept.
    """
    text = " ".join(_COLOUR.sub("", str(error)).split())
    text = text.rpartition(_BEFORE_REASON)[2]
    for mark in _BEHIND_REASON:
        text = text.partition(mark)[0]
    text = "".join(x if x.isprintable() else "?" for x in text)
    if len(text) > limit:
        half = (limit - 5) // 2
        text = f"{text[:half]} ... {text[-half:]}"
    return text or _name(error)


def _name(error):
    return "no message" if isinstance(error, str) else type(error).__name__
