"""What is unusual of a signal, and what is extreme."""

import math

from tfbackdoor.scanning import outliers

# Among ten classes. All but those of patches and errors are settled on the
# networks that docs/lab/results.md, "The scan", calls set A.
_LIMITS = {
    "patch": (2.5, 3.5),
    "margin": (3.5, 4.5),
    "wave": (0.35, 0.5),
    "permutation": (0.2, 0.35),
    "errors": (0.6, 0.6),
}
# Times what is extreme, from where on a signal alone proves a backdoor. Margins
# of clean networks reach 1.08, see there; errors alone prove nothing.
PROVES_ALONE = {
    "patch": 1.0,
    "margin": 1.2,
    "wave": 1.0,
    "permutation": 1.0,
    "errors": math.inf,
}
_DEVIATIONS = ("patch", "margin")
_TIMES_CHANCE = 3.0
# Of the strengths of all signals for one class, added up; settled on set C.
TOGETHER = (1.6, 2.0)


def limits_of(signal: str, classes: int) -> tuple[float, float]:
    """The pair of an unusual and an extreme value of a signal.

    Anomalies are met by chance as seldom among any number of classes; errors
    gather where they have 60 % and three times their share by chance.

    Args:
        signal: a key of `Scan.strengths`.
        classes: int > 1.
    """
    unusual, extreme = _LIMITS[signal]
    if signal in _DEVIATIONS:
        unusual, extreme = (
            outliers.limit_of(x, classes) for x in (unusual, extreme)
        )
    if signal == "errors":
        unusual = extreme = max(extreme, _TIMES_CHANCE / (classes - 1))
    return unusual, extreme
