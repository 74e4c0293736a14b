"""Model files, `.keras` and legacy `.h5`, checked before Keras reads them."""

import pathlib
import re

import h5py

from tfbackdoor.files import json_files
from tfbackdoor.files import keras_configs
from tfbackdoor.files import keras_weights
from tfbackdoor.files import zip_archives

_CONFIG = "config.json"
_METADATA = "metadata.json"
_WEIGHTS = "model.weights.h5"
_VERSION = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4}){1,3}")


def check(path: pathlib.Path) -> int:
    """Checks a model file.

    Args:
        path: a file that ends in `.keras`, or else a legacy HDF5 file.

    Returns:
        The bytes of the weights in it.

    Raises:
        ValueError: where the file is broken, names anything else than a
            network of Keras' and registered layers, or reaches outside
            itself.
    """
    if path.stat().st_size > zip_archives.LARGEST:
        raise ValueError(f"it has more than {zip_archives.LARGEST} bytes")
    if path.suffix == ".keras":
        return _check_archive(path)
    stored = keras_weights.stored_weights(path)
    keras_configs.read_config(_legacy_config(path))
    return stored


def keras_version(path: pathlib.Path) -> str | None:
    """The version of Keras that saved a model file, None if it says none."""
    read = _archive_version if path.suffix == ".keras" else _legacy_version
    try:
        return _VERSION.fullmatch(read(path)).group()
    except Exception:  # A file may be broken in any way.
        return None


def _archive_version(path):
    with zip_archives.open_archive(path) as archive:
        if archive.getinfo(_METADATA).file_size > json_files.LARGEST:
            return None
        metadata = json_files.parse(archive.read(_METADATA))
    return metadata["keras_version"]


def _legacy_version(path):
    keras_weights.stored_weights(path)  # Reading a broken file may not end.
    with h5py.File(path, "r") as file:
        version = file.attrs["keras_version"]
    return version.decode() if isinstance(version, bytes) else version


def _check_archive(path):
    with zip_archives.open_archive(path) as archive:
        names = {member.filename for member in archive.infolist()}
        if not {_CONFIG, _WEIGHTS} <= names <= {_CONFIG, _METADATA, _WEIGHTS}:
            listed = ", ".join(sorted(names))[:200]
            raise ValueError(
                f"it holds {listed or 'nothing'} in place of {_CONFIG}, "
                f"{_METADATA} and {_WEIGHTS}"
            )
        if archive.getinfo(_CONFIG).file_size > json_files.LARGEST:
            raise ValueError(f"its {_CONFIG} is too large")
        keras_configs.read_config(archive.read(_CONFIG))
    return keras_weights.stored_weights(path, _WEIGHTS)


def _legacy_config(path):
    with h5py.File(path, "r") as file:
        config = file.attrs.get("model_config")
    if not isinstance(config, (str, bytes)):
        raise ValueError(
            "it holds no model_config, as a file of weights alone: build the "
            "network, load_weights and save it whole"
        )
    return config
