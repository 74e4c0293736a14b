"""Values of any kind as JSON knows them."""

import dataclasses
import math

import numpy as np

_DIGITS = 6


def plain(value):
    """The value as JSON knows it; a number that is not finite is None."""
    if dataclasses.is_dataclass(value):
        return plain(value.to_json())
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(_listed(value))
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int)):
        return value
    return str(value)


def _listed(array):
    """Nested lists of an array, floats without the digits of rounding."""
    array = np.asarray(array)
    if array.dtype.kind in "biuSU":
        return array.tolist()
    values = [float(f"{float(x):.{_DIGITS}g}") for x in array.flat]
    return np.reshape(values, array.shape).tolist()
