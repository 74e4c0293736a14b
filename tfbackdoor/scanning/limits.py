"""What is unusual of a signal, and what is extreme."""

import math

from tfbackdoor.scanning import outliers

# Among ten classes. All but those of patches and errors are settled on the
# networks that docs/lab/results.md, "The scan", calls set A; that those of
# waves and of all together grow with the number of classes, on set F.
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
# Among ten classes, of the strengths of all signals for one class, added up;
# settled on set C.
_TOGETHER = (1.6, 2.0)


def limits_of(signal: str, classes: int) -> tuple[float, float]:
    """The pair of an unusual and an extreme value of a signal.

    Anomalies are met by chance as seldom among any number of classes, and
    answers to waves grow with it as their limits do; errors gather where they
    have 60 % and three times their share by chance.

    Args:
        signal: a key of `Scan.strengths`.
        classes: int > 1.
    """
    unusual, extreme = _LIMITS[signal]
    if signal in _DEVIATIONS:
        unusual, extreme = (
            outliers.limit_of(x, classes) for x in (unusual, extreme)
        )
    if signal == "wave":
        return _grown((unusual, extreme), classes)
    if signal == "errors":
        unusual = extreme = max(extreme, _TIMES_CHANCE / (classes - 1))
    return unusual, extreme


def limits_together(classes: int) -> tuple[float, float]:
    """What is unusual, and extreme, of all signals' strengths for one class.

    The largest of many sums is larger by chance, too.

    Args:
        classes: int > 1.
    """
    return _grown(_TOGETHER, classes)


def _grown(limits, classes):
    """Limits among ten classes, grown as those of an anomaly of patches."""
    unusual, extreme = (
        limit * outliers.limit_of(of_ten, classes) / of_ten
        for limit, of_ten in zip(limits, _LIMITS["patch"])
    )
    return unusual, extreme
