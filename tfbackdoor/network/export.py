"""Writes a classifier in the formats asked for, and reads all of them back."""

import json
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence

import keras
import numpy as np

from tfbackdoor.files import messages
from tfbackdoor.network import batch_size
from tfbackdoor.network import classifiers
from tfbackdoor.network import export_formats
from tfbackdoor.network import graph
from tfbackdoor.network import precisions
from tfbackdoor.network import refusals

KERAS_FILE = "classifier.keras"
UNVERIFIED_FILE = "unverified.keras"
_KERAS = "keras"  # The format that is always written.
_READ_BACK = pathlib.Path(__file__).with_name("read_back.py")
_SECONDS = 600
# Of scores up to 1, and as many times that of larger ones. Half precision
# rounds to 2^-10 and 2^-7, and every runtime does so at other places.
_TOLERANCES = {"float16": 1e-2, "bfloat16": 1e-1}
_TOLERANCE = 1e-4


def export_classifier(
    classifier: keras.Model,
    folder: str | pathlib.Path,
    images,
    *,
    formats: Sequence[str] = ("saved_model",),
) -> pathlib.Path:
    """Writes `classifier.keras` and other formats, read back and compared.

    All of them take `images`, float32 `(batch, height, width, channels)` in
    the classifier's own range, any batch size, and give one output, the
    scores `(batch, classes)`: logits or probabilities, as the classifier has
    them at inference; augmentation layers in it do nothing. Each file is
    loaded in a process without this package and compared on `images`.

    Args:
        classifier: built classifier of plain Keras layers.
        folder: where to write; made where it is not there.
        images: array `(batch, height, width, channels)`, float32, to compare
            on; of many, as many as one pass takes. One channel may be left
            out, or be there, whatever the classifier takes.
        formats: what is written beside `classifier.keras`:
            `"saved_model"` gives `saved_model/`, a TensorFlow SavedModel with
            the signature `serving_default`; `"litert"` gives
            `classifier.tflite`; `"onnx"` gives `classifier.onnx` and needs
            the packages of `pip install 'tfbackdoor[export]'`.

    Returns:
        The folder.

    Raises:
        TypeError: where `classifier` is no Keras model.
        ValueError: before anything is written, on an unknown format or images
            that the classifier does not take; and, after all else was written,
            where a format cannot be written, does not load without this
            package, or gives other scores. Its file is removed, but for the
            Keras file, the classifier itself, which is then left as
            `unverified.keras`.
    """
    export_formats.check_known(formats)
    refusals.check_kind(classifier)
    images = _batch_of(images, classifiers.image_shape(classifier))
    images = images[: batch_size.batch_size_for(classifier)]
    folder = pathlib.Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(
            f"`folder` must be a folder or new. Received: {folder}, a file."
        )
    folder.mkdir(parents=True, exist_ok=True)
    # The file comes first: whatever else fails, it is there.
    written, failures = _write(classifier, images, folder, formats)
    scores = graph.call_for_scores(classifier, images)
    scores = keras.ops.convert_to_numpy(scores).astype("float32")
    found = _read_back(written, images, scores)
    tolerance = _tolerance(classifier) * max(1.0, float(np.abs(scores).max()))
    for name, result in found.items():
        if reason := _failure(name, result, tolerance):
            failures[name] = reason
    kept = _keep_verified(written, failures)
    if failures:
        raise ValueError(
            f"{' '.join(failures.values())} {folder} holds {', '.join(kept)}."
        )
    return folder


def _batch_of(images, shape):
    """The images as float32, ValueError unless they are of that shape.

    Without their channel axis, where the classifier takes none.
    """
    try:
        batch = np.asarray(images, "float32")
    except (TypeError, ValueError):
        batch = np.zeros(0, "float32")
    if batch.ndim == len(shape) + 2 and batch.shape[-1] == 1:
        batch = batch[..., 0]
    is_alike = batch.ndim == len(shape) + 1 and all(
        want is None or size == want
        for size, want in zip(batch.shape[1:], shape)
    )
    # One channel may be left out: Keras gives it back.
    is_grey = shape[-1:] == (1,) and batch.shape[1:] == shape[:-1]
    if not len(batch) or not (is_alike or is_grey):
        received = getattr(images, "shape", type(images).__name__)
        raise ValueError(
            f"`images` must be an array of images of shape {shape}, at least "
            f"one, to compare scores on. Received: {received}"
        )
    return batch


def _write(classifier, images, folder, formats):
    """The path of each file that was written, and why others were not."""
    written, failures = {_KERAS: folder / UNVERIFIED_FILE}, {}
    classifier.save(written[_KERAS])
    for name in formats:
        path = folder / export_formats.FORMATS[name].file
        try:
            export_formats.write(classifier, path, name, images[:1])
            written[name] = path
        except Exception as error:  # The other files are worth keeping.
            failures[name] = (
                f"`classifier` must be a model that exports as {name}. "
                f"Received: {messages.one_line(error)}."
            )
            export_formats.remove(path)
    return written, failures


def _read_back(paths, images, scores):
    """From format to what a process without this package found."""
    with tempfile.TemporaryDirectory() as scratch:
        batch = pathlib.Path(scratch, "batch.npz")
        result = pathlib.Path(scratch, "result.json")
        np.savez(batch, images=images, scores=scores)
        files = [f"{name}={path.absolute()}" for name, path in paths.items()]
        # Isolated mode and another folder keep this package off the path of
        # a process started from its checkout.
        command = [sys.executable, "-I", _READ_BACK, batch, result, *files]
        try:
            process = subprocess.run(
                command,
                cwd=scratch,
                capture_output=True,
                text=True,
                timeout=_SECONDS,
            )
            return json.loads(result.read_text())
        except subprocess.TimeoutExpired:
            reason = f"no answer within {_SECONDS} seconds"
        except OSError:  # It ended without a result.
            lines = process.stderr.strip().splitlines()
            reason = lines[-1] if lines else f"exit {process.returncode}"
        return {name: {"error": reason} for name in paths}


def _failure(name, result, tolerance):
    """A sentence where a file is not what it should be, else nothing."""
    if "error" in result:
        return (
            f"`classifier` must load from its {name} file with only "
            f"TensorFlow and Keras. Received: "
            f"{messages.one_line(result['error'])}."
        )
    if not result["difference"] <= tolerance:
        return (
            f"`classifier` must give the same scores from its {name} file "
            f"within {tolerance:g}. Received: a difference of "
            f"{result['difference']}."
        )
    return None


def _tolerance(classifier):
    """What two runtimes may differ by, for scores up to 1."""
    dtypes = precisions.compute_dtypes(classifier)
    return max(_TOLERANCES.get(dtype, _TOLERANCE) for dtype in dtypes)


def _keep_verified(written, failures):
    """Removes the files that failed; names those that are left.

    The Keras file is the classifier itself: it is never removed, and gets its
    name where it did not fail.
    """
    kept = []
    for name, path in written.items():
        if name == _KERAS and name not in failures:
            path = path.replace(path.with_name(KERAS_FILE))
        if name != _KERAS and name in failures:
            export_formats.remove(path)
        else:
            kept.append(path.name)
    return kept
