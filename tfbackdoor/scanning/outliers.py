"""How far numbers lie above what is usual among them."""

import statistics

import numpy as np

_OF_CLASSES = 10
_NORMAL = statistics.NormalDist()


def above_median(
    values, *, least_spread: float, references: int | None = None
) -> np.ndarray:
    """`(value - median) / (1.4826 * median deviation of those above it)`.

    Robust standard deviations of the upper half (Iglewicz & Hoaglin 1993): a
    long tail below does not widen them.

    Args:
        values: `(classes,)` floats.
        least_spread: float > 0, what the divisor is at least.
        references: int, how many of the first values tell what is usual;
            default all.
    """
    values = np.asarray(values, float)
    usual = values[:references]
    above = usual - np.median(usual)
    spread = 1.4826 * np.median(above[above >= 0.0])
    return (values - np.median(usual)) / max(spread, least_spread)


def limit_of(of_ten: float, classes: int) -> float:
    """What the largest of `classes` normal numbers exceeds as seldom.

    As seldom as the largest of ten exceeds `of_ten`: among more classes the
    largest is larger by chance alone.
    """
    by_chance = 1.0 - _NORMAL.cdf(of_ten)
    return _NORMAL.inv_cdf(
        1.0 - by_chance * _OF_CLASSES / max(classes, _OF_CLASSES)
    )
