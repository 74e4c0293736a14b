"""Which values the settings of methods may have, checked before any work."""

import math
import numbers
from collections.abc import Mapping

_COUNT = "a whole number >= 1"
_COUNT_OR_ZERO = "a whole number >= 0"
_POSITIVE = "a number > 0"
_NOT_NEGATIVE = "a number >= 0"
_SHARE = "a number in [0, 1]"
_PART = "a number in [0, 1)"
_NO_EMPTY_SHARE = "a number in (0, 1]"

_HOLDS = {
    _COUNT: lambda x: x >= 1,
    _COUNT_OR_ZERO: lambda x: x >= 0,
    _POSITIVE: lambda x: x > 0.0,
    _NOT_NEGATIVE: lambda x: x >= 0.0,
    _SHARE: lambda x: 0.0 <= x <= 1.0,
    _PART: lambda x: 0.0 <= x < 1.0,
    _NO_EMPTY_SHARE: lambda x: 0.0 < x <= 1.0,
}
_WHOLE = (_COUNT, _COUNT_OR_ZERO)
_RANGES = {
    **dict.fromkeys(
        (
            "epochs",
            "teacher_epochs",
            "unlearning_epochs",
            "iterations",
            "rounds",
            "steps",
            "scan_steps",
            "fixed_point_steps",
            "batch_size",
            "recovery_batch_size",
            "decay_every",
        ),
        _COUNT,
    ),
    **dict.fromkeys(
        (
            "seed",
            "padding",
            "average_after",
            "hardening_steps",
            "recovery_steps",
            "cutout_holes",
            "cutout_length",
        ),
        _COUNT_OR_ZERO,
    ),
    **dict.fromkeys(
        (
            "learning_rate",
            "mask_rate",
            "hardening_rate",
            "recovery_rate",
            "unlearning_rate",
            "teacher_rate",
            "perturbation_rate",
            "step_size",
            "power",
            "norm",
        ),
        _POSITIVE,
    ),
    **dict.fromkeys(
        ("epsilon", "weight_decay", "l2", "penalty", "rho"), _NOT_NEGATIVE
    ),
    **dict.fromkeys(
        (
            "max_accuracy_drop",
            "threshold",
            "alpha",
            "mixup",
            "max_opacity",
            "label_smoothing",
            "label_share",
            "unlearned_accuracy",
        ),
        _SHARE,
    ),
    **dict.fromkeys(("held_out", "momentum"), _PART),
    **dict.fromkeys(
        ("max_share", "max_strength", "share", "decay_factor"), _NO_EMPTY_SHARE
    ),
}


def check(settings: Mapping[str, object]) -> None:
    """Raises ValueError on a setting that no method could follow.

    Settings that are None are left to the method, and so are those that are
    no numbers but that it may take, such as a schedule of learning rates.

    Args:
        settings: from name to value.
    """
    for name, value in settings.items():
        allowed = _RANGES.get(name)
        if allowed is None or value is None or callable(value):
            continue
        if not _is_number(value, allowed) or not _HOLDS[allowed](value):
            raise ValueError(
                f"`{name}` must be {allowed}. Received: {name}={value!r}"
            )


def _is_number(value, allowed):
    kind = numbers.Integral if allowed in _WHOLE else numbers.Real
    is_number = isinstance(value, kind) and not isinstance(value, bool)
    return is_number and math.isfinite(value)
