"""What the hardware at hand does best."""

import pytest
import tensorflow as tf

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


@pytest.mark.parametrize(
    ("flags", "switch", "gpus", "expected"),
    [
        (("avx2", "avx512f"), None, [], 16),
        (("avx2",), "1", [], 8),
        ((), None, [], 0),
        (("avx2", "avx512f"), "0", [], 0),
        (("avx2", "avx512f"), None, ["GPU:0"], 0),
    ],
)
def test_channels_that_onednn_takes_at_once(
    monkeypatch, flags, switch, gpus, expected
):
    monkeypatch.setattr(devices, "_cpu_flags", lambda: frozenset(flags))
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: gpus)
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    if switch is not None:
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", switch)
    assert devices.onednn_block() == expected
