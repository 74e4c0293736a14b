import numpy as np
import pytest

from tfbackdoor.scanning import outliers


# The median is 2, the deviations of 2, 3 and 4 above it 0, 1 and 2.
def test_deviations_above_the_median_are_the_measure():
    found = outliers.above_median([0.0, 1, 2, 3, 4], least_spread=0.1)
    expected = np.array([-2.0, -1, 0, 1, 2]) / 1.4826
    np.testing.assert_allclose(found, expected)


def test_the_least_spread_bounds_what_is_equal():
    found = outliers.above_median([1.0, 1, 1, 1, 2], least_spread=0.5)
    np.testing.assert_allclose(found, [0.0, 0, 0, 0, 2])


# scipy.stats.norm.isf(norm.sf(2.5) * 10 / classes)
@pytest.mark.parametrize(
    ("classes", "limit"), [(4, 2.5), (10, 2.5), (43, 2.980), (200, 3.421)]
)
def test_limits_rise_with_the_number_of_classes(classes, limit):
    assert outliers.limit_of(2.5, classes) == pytest.approx(limit, abs=2e-3)
