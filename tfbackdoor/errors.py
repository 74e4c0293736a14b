"""How an error is told in one sentence, and whose fault it is."""

import inspect

_PACKAGE = __name__.partition(".")[0]


def is_expected(error: BaseException) -> bool:
    """Whether this package raised it, rather than the machine."""
    return isinstance(error, (ValueError, TypeError))


def sentence(error: BaseException) -> str:
    """The first line of an error's message, with its kind if unexpected."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return text if is_expected(error) else f"{type(error).__name__}: {text}"


def users_level() -> int:
    """The `stacklevel` at which a warning points at who called this package.

    To be called where `warnings.warn` is.
    """
    frame, level = inspect.currentframe(), 0
    while frame and _package_of(frame) == _PACKAGE:
        frame, level = frame.f_back, level + 1
    return level


def _package_of(frame):
    return frame.f_globals.get("__name__", "").partition(".")[0]
