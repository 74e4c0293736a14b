"""What the hardware at hand does best: strategy, precision, compilation."""

import os

import keras
import tensorflow as tf

STRATEGIES = ("auto", "one_device", "mirrored")
PRECISIONS = ("float32", "mixed_bfloat16")

_CPU_BFLOAT16_FLAGS = ("amx_bf16", "avx512_bf16")


def make_strategy(name: str = "auto") -> tf.distribute.Strategy:
    """A `tf.distribute` strategy.

    Args:
        name: `"one_device"`, `"mirrored"` (all GPUs, or all logical CPUs where
            there is no GPU), or `"auto"`: mirrored where there are several
            GPUs, else one device (TensorFlow's default strategy).

    Raises:
        ValueError: on an unknown name.
    """
    if name not in STRATEGIES:
        raise ValueError(
            f"`name` must be one of {STRATEGIES}. Received: {name}"
        )
    gpus = tf.config.list_logical_devices("GPU")
    devices = gpus or tf.config.list_logical_devices("CPU")
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        return tf.distribute.MirroredStrategy([d.name for d in devices])
    # OneDeviceStrategy would rebuild every data set, and its cache, an epoch.
    return tf.distribute.get_strategy()


def default_precision() -> str:
    """`"mixed_bfloat16"` where the device multiplies bfloat16 natively.

    GPUs of compute capability 8 and later and CPUs with AMX or AVX-512
    bfloat16 instructions; `"float32"` anywhere else.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        native = details.get("compute_capability", (0, 0)) >= (8, 0)
    else:
        native = any(flag in _cpu_flags() for flag in _CPU_BFLOAT16_FLAGS)
    return "mixed_bfloat16" if native else "float32"


def default_jit_compile() -> str | bool:
    """Keras' `jit_compile`: `"auto"` on one GPU, else False.

    XLA is slower than oneDNN on CPUs and does not compile a replicated step.
    """
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    on_gpu = bool(tf.config.list_physical_devices("GPU"))
    return "auto" if on_gpu and replicas == 1 else False


def check_precision(precision: str | None) -> None:
    """Raises ValueError unless `precision` is None or one we support."""
    if precision is not None and precision not in PRECISIONS:
        raise ValueError(
            f"`precision` must be one of {PRECISIONS}, or None for the "
            f"classifier's own. Received: precision={precision}"
        )


def set_seed(seed: int) -> None:
    """Seeds Python, NumPy, TensorFlow and Keras."""
    keras.utils.set_random_seed(seed)


def _cpu_flags() -> frozenset[str]:
    if not os.path.exists("/proc/cpuinfo"):
        return frozenset()
    with open("/proc/cpuinfo") as info:
        for line in info:
            if line.startswith("flags"):
                return frozenset(line.split())
    return frozenset()
