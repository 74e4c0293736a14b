"""The formats that serve a classifier, and how each is written."""

import contextlib
import dataclasses
import importlib.util
import logging
import pathlib
import shutil
import warnings
from collections.abc import Iterable

import keras

from tfbackdoor.network import classifiers
from tfbackdoor.network import copying
from tfbackdoor.network import graph


@dataclasses.dataclass(frozen=True)
class Format:
    """A format beside `.keras`.

    Args:
        file: name of the file, or folder, in the folder of an export.
        keras_name: what Keras' `export` calls it.
        halves: bool, whether it computes in half precision as TensorFlow does.
        packages: what must be installed beside TensorFlow and Keras.
    """

    file: str
    keras_name: str
    halves: bool = False
    packages: tuple[str, ...] = ()


FORMATS = {
    "saved_model": Format("saved_model", "tf_saved_model", halves=True),
    "litert": Format("classifier.tflite", "litert"),
    "onnx": Format(
        "classifier.onnx",
        "onnx",
        packages=("onnx", "onnxruntime", "tf2onnx"),
    ),
}


def check_formats(formats: Iterable[str]) -> None:
    """Raises ValueError unless all formats can be written here.

    Args:
        formats: should be keys of `FORMATS` whose packages are installed.
    """
    check_known(formats)
    for name in formats:
        check_installed(name)


def check_known(formats: Iterable[str]) -> None:
    """Raises ValueError, with the valid names, on an unknown format."""
    if unknown := [name for name in formats if name not in FORMATS]:
        raise ValueError(
            f"`formats` must be some of {sorted(FORMATS)}. Received: {unknown}"
        )


def check_installed(name: str) -> None:
    """Raises ValueError where a format needs a package that is not there."""
    packages = FORMATS[name].packages
    if missing := [x for x in packages if not importlib.util.find_spec(x)]:
        raise ValueError(
            f"the format {name} needs pip install 'tfbackdoor[export]', for "
            f"{' and '.join(missing)}"
        )


def write(
    classifier: keras.Model, path: pathlib.Path, name: str, image
) -> None:
    """Writes a classifier at inference in the format `name` to `path`.

    `image` is a batch of one that it takes.

    Raises:
        ValueError: where the format needs a package that is not there.
        Exception: whatever Keras and its converters raise.
    """
    check_installed(name)
    if not FORMATS[name].halves:
        classifier = copying.in_float32(classifier)
    inference = _Inference(classifier)
    shape = classifiers.image_shape(classifier)
    inference(keras.ops.convert_to_tensor(image))
    with _quiet():
        inference.export(
            str(path),
            format=FORMATS[name].keras_name,
            input_signature=[
                keras.InputSpec(
                    shape=(None, *shape), dtype="float32", name="images"
                )
            ],
            verbose=False,
        )


def remove(path: pathlib.Path) -> None:
    """Removes an exported file or folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


class _Inference(keras.Model):
    """A classifier that is never in training.

    Keras exports a model as it is called without `training`, in which
    augmentation layers augment.
    """

    def __init__(self, classifier):
        super().__init__(name="inference")  # No scope begins with "_".
        self.classifier = classifier

    def call(self, images):
        return graph.call_for_scores(self.classifier, images)


@contextlib.contextmanager
def _quiet():
    """A context in which converters print no progress."""
    logger = logging.getLogger("tf2onnx")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
