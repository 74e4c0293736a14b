"""How a fit shows its progress, by where its output goes."""

import sys


def verbosity(verbose: str | int) -> int:
    """Keras' `verbose`, with `"auto"` decided.

    A bar (1) where people watch, in a terminal or a notebook; one line per
    epoch (2) elsewhere, since the bar fills log files with control characters.

    Args:
        verbose: `"auto"`, 0, 1 or 2.
    """
    if isinstance(verbose, int):
        return verbose
    watched = sys.stdout.isatty() or "ipykernel" in sys.modules
    return 1 if watched else 2
