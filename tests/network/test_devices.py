"""What the hardware at hand does best."""

import pytest

from tfbackdoor.network import devices
from tfbackdoor.network import precision_timing


@pytest.mark.parametrize(
    ("flags", "faster", "expected"),
    [
        (("amx_bf16",), True, "mixed_bfloat16"),
        (("avx512_bf16",), True, "mixed_bfloat16"),
        (("avx512_bf16",), False, "float32"),
        (("avx2",), True, "float32"),
    ],
)
def test_bfloat16_is_the_default_where_native_and_faster(
    monkeypatch, flags, faster, expected
):
    monkeypatch.setattr(devices, "_cpu_flags", lambda: frozenset(flags))
    monkeypatch.setattr(precision_timing, "bfloat16_is_faster", lambda: faster)
    assert devices.default_precision() == expected


@pytest.mark.parametrize(
    ("float32", "bfloat16", "expected"), [(2.0, 1.0, True), (1.0, 2.0, False)]
)
def test_what_is_measured_faster(monkeypatch, float32, bfloat16, expected):
    times = {"float32": float32, "bfloat16": bfloat16}
    monkeypatch.setattr(
        precision_timing, "_step", lambda dtype: lambda: dtype.name
    )
    monkeypatch.setattr(
        precision_timing, "_seconds", lambda step: times[step()]
    )
    measure = precision_timing.bfloat16_is_faster.__wrapped__
    assert measure() is expected


def test_the_measurement_runs():
    assert precision_timing.bfloat16_is_faster() in (True, False)
