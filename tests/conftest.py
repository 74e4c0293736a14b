"""Two logical CPUs, one MirroredStrategy, one seed, and the golden files."""

import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfbackdoor

_GOLDEN = pathlib.Path(__file__).parent / "golden"
_SHARED = pathlib.Path(__file__).parents[2] / "shared"

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)


def pytest_xdist_auto_num_workers(config):
    """Two processes for all tests, none beside this one for some."""
    takes_all = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    return 2 if takes_all and not config.option.keyword else 0


@pytest.fixture(autouse=True)
def seeded():
    tfbackdoor.set_seed(0)


@pytest.fixture(scope="session")
def two_replicas():
    """The only MirroredStrategy: a second one aborts TensorFlow."""
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


@pytest.fixture
def float64():
    """Makes float64 the default of all layers for one test."""
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield "float64"
    keras.config.set_dtype_policy("float32")
    keras.config.set_floatx("float32")


@pytest.fixture(scope="session")
def golden():
    """Reads a golden file by name: `anp`, `nad` or `triggers`."""

    def read(name):
        for folder in (_GOLDEN, _SHARED / "golden"):
            path = folder / f"{name}.npz"
            if path.is_file():
                with np.load(path, allow_pickle=False) as arrays:
                    return {key: arrays[key] for key in arrays.files}
        pytest.skip(f"needs ../shared/golden/{name}.npz")

    return read


@pytest.fixture(scope="session")
def shared():
    """The folder of data sets and published weights."""
    if not _SHARED.is_dir():
        pytest.skip("needs ../shared")
    return _SHARED


@pytest.fixture
def digits():
    """64 embedded test digits as an unbatched data set."""
    return tfbackdoor.in_memory(
        tfbackdoor.load_images("digits", "test").take(64)
    )
