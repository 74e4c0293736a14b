"""What the hardware at hand does best: strategy, precision, compilation."""

import functools
import json
import os

import keras
import tensorflow as tf

from tfbackdoor.network import precision_timing

STRATEGIES = ("auto", "one_device", "mirrored", "multi_worker", "tpu")
PRECISIONS = ("float32", "mixed_bfloat16")

_CPU_BFLOAT16_FLAGS = ("amx_bf16", "avx512_bf16")
_CPU_VECTORS = {"avx512f": 16, "avx2": 8}


def make_strategy(name: str = "auto") -> tf.distribute.Strategy:
    """A `tf.distribute` strategy.

    Args:
        name: `"one_device"`; `"mirrored"` (all GPUs, or all logical CPUs where
            there is no GPU); `"multi_worker"`, the machines that the
            environment variable `TF_CONFIG` names, each with all its devices;
            `"tpu"`, all cores of the TPU that TensorFlow finds; or `"auto"`:
            multi_worker where `TF_CONFIG` names several workers, mirrored
            where there are several GPUs, else one device (TensorFlow's
            default strategy).

    TensorFlow makes the connections between workers before anything else, so
    that multi_worker must be asked for before any tensor is made.

    Raises:
        ValueError: on an unknown name, or multi_worker without `TF_CONFIG`.
    """
    if name not in STRATEGIES:
        raise ValueError(
            f"`name` must be one of {STRATEGIES}. Received: {name}"
        )
    workers = len(_workers())
    if name == "multi_worker" and not workers:
        raise ValueError(
            "`name` must not be multi_worker unless the environment variable "
            "TF_CONFIG names the workers. Received: multi_worker without any."
        )
    if name == "multi_worker" or (name == "auto" and workers > 1):
        return _multi_worker_strategy()
    if name == "tpu":
        return _tpu_strategy()
    gpus = tf.config.list_logical_devices("GPU")
    devices = gpus or tf.config.list_logical_devices("CPU")
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        return tf.distribute.MirroredStrategy([d.name for d in devices])
    # OneDeviceStrategy would rebuild every data set, and its cache, an epoch.
    return tf.distribute.get_strategy()


def is_chief() -> bool:
    """Whether this process is the worker that writes, or the only one."""
    task = _tf_config().get("task", {})
    if task.get("type", "chief") == "chief":
        return True
    has_chief = "chief" in _tf_config().get("cluster", {})
    return task["type"] == "worker" and not task["index"] and not has_chief


def spans_workers(strategy: tf.distribute.Strategy) -> bool:
    """Whether the strategy's replicas are in several processes."""
    return (
        isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        and len(_workers()) > 1
    )


def _tf_config():
    return json.loads(os.environ.get("TF_CONFIG") or "{}")


def _workers():
    """The addresses of all processes that train."""
    cluster = _tf_config().get("cluster", {})
    return [*cluster.get("chief", ()), *cluster.get("worker", ())]


@functools.cache
def _multi_worker_strategy():
    """The only one of this process: TensorFlow makes no second."""
    return tf.distribute.MultiWorkerMirroredStrategy()


@functools.cache
def _tpu_strategy():
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect()
    return tf.distribute.TPUStrategy(resolver)


def default_precision() -> str:
    """`"mixed_bfloat16"` where the device has it natively and it is faster.

    GPUs of compute capability 8 and later and CPUs with AMX or AVX-512
    bfloat16 instructions, if a measurement of a fraction of a second says so;
    `"float32"` anywhere else.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        native = details.get("compute_capability", (0, 0)) >= (8, 0)
    else:
        native = any(flag in _cpu_flags() for flag in _CPU_BFLOAT16_FLAGS)
    if native and precision_timing.bfloat16_is_faster():
        return "mixed_bfloat16"
    return "float32"


def default_jit_compile() -> str | bool:
    """Keras' `jit_compile`: `"auto"` on one GPU, else False.

    XLA is slower than oneDNN on CPUs and does not compile a replicated step.
    """
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    on_gpu = bool(tf.config.list_physical_devices("GPU"))
    return "auto" if on_gpu and replicas == 1 else False


def onednn_block() -> int:
    """Channels that oneDNN takes at once, 0 where it does not convolve.

    `TF_ENABLE_ONEDNN_OPTS=0` in the environment turns it off.
    """
    is_off = os.environ.get("TF_ENABLE_ONEDNN_OPTS") in ("0", "false")
    if is_off or tf.config.list_physical_devices("GPU"):
        return 0
    return next(
        (n for flag, n in _CPU_VECTORS.items() if flag in _cpu_flags()), 0
    )


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


@functools.cache
def _cpu_flags() -> frozenset[str]:
    if not os.path.exists("/proc/cpuinfo"):
        return frozenset()
    with open("/proc/cpuinfo") as info:
        for line in info:
            if line.startswith("flags"):
                return frozenset(line.split())
    return frozenset()
