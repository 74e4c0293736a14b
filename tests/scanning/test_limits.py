import statistics

import pytest

from tfbackdoor.scanning import limits

_NORMAL = statistics.NormalDist()


def _of(classes, of_ten):
    """Met among `classes` normal numbers as seldom as `of_ten` among ten."""
    tail = 10 * (1.0 - _NORMAL.cdf(of_ten)) / classes
    return _NORMAL.inv_cdf(1.0 - tail)


@pytest.mark.parametrize("classes", [43, 200])
def test_limits_grow_with_the_number_of_classes(classes):
    unusual, extreme = _of(classes, 2.5), _of(classes, 3.5)
    assert limits.limits_of("patch", classes) == pytest.approx(
        (unusual, extreme)
    )
    growth = unusual / 2.5, extreme / 3.5
    assert growth[0] > growth[1] > 1.0
    for ten, many in (
        (limits.limits_of("wave", 10), limits.limits_of("wave", classes)),
        (limits.limits_together(10), limits.limits_together(classes)),
    ):
        expected = ten[0] * growth[0], ten[1] * growth[1]
        assert many == pytest.approx(expected)


def test_errors_gather_beyond_chance():
    assert limits.limits_of("errors", 10) == (0.6, 0.6)
    assert limits.limits_of("errors", 4)[1] == pytest.approx(1.0)
