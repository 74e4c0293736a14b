"""Writes a classifier as `.keras` and SavedModel, and reads both back."""

import pathlib
import shutil
import subprocess
import sys
import tempfile

import keras
import numpy as np

from tfbackdoor.network import classifiers

KERAS_FILE = "classifier.keras"
SAVED_MODEL_FOLDER = "saved_model"
_TOLERANCE = 1e-4
_TIMEOUT_SECONDS = 600

# Runs in a process of its own, which never imports this package.
_READ_BACK = """
import sys
folder, keras_file, saved_model, batch = sys.argv[1:]
import keras
import numpy as np
import tensorflow as tf
with np.load(batch, allow_pickle=False) as arrays:
    images, expected = arrays["images"], arrays["scores"]
model = keras.models.load_model(f"{folder}/{keras_file}", compile=False)
signature = tf.saved_model.load(f"{folder}/{saved_model}")
signature = signature.signatures["serving_default"]
(served,) = signature(images=tf.constant(images)).values()
scores = {
    "keras": model(images, training=False).numpy(),
    "saved_model": served.numpy(),
}
for name, received in scores.items():
    print(name, float(np.max(np.abs(received - expected))))
if "tfbackdoor" in sys.modules:
    raise SystemExit("the files need tfbackdoor")
"""


def export_classifier(
    classifier: keras.Model, folder: str | pathlib.Path, images
) -> pathlib.Path:
    """Writes `classifier.keras` and `saved_model/`, read back and compared.

    The SavedModel's signature `serving_default` takes `images`, float32
    `(batch, height, width, channels)` in [0, 1], any batch size, and gives
    one output, the classifier's scores `(batch, classes)`: logits or
    probabilities, as the classifier has them. Both files are loaded in a
    process without this package and compared on `images`.

    Args:
        classifier: built classifier of plain Keras layers.
        folder: where to write; made where it is not there.
        images: array `(batch, height, width, channels)`, float32 in [0, 1],
            the batch to compare on.

    Returns:
        The folder.

    Raises:
        ValueError: where a file does not load without this package, or gives
            other scores; both are removed then.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    images = np.asarray(images, "float32")
    expected = classifier(images, training=False)
    expected = keras.ops.convert_to_numpy(expected).astype("float32")
    try:
        classifier.save(folder / KERAS_FILE)
        _write_saved_model(classifier, folder / SAVED_MODEL_FOLDER)
        _compare(folder, images, expected)
    except BaseException:
        (folder / KERAS_FILE).unlink(missing_ok=True)
        shutil.rmtree(folder / SAVED_MODEL_FOLDER, ignore_errors=True)
        raise
    return folder


def _write_saved_model(classifier, path):
    shape = classifiers.image_shape(classifier)
    classifier.export(
        str(path),
        format="tf_saved_model",
        input_signature=[
            keras.InputSpec(
                shape=(None, *shape), dtype="float32", name="images"
            )
        ],
        verbose=False,
    )


def _compare(folder, images, expected):
    with tempfile.TemporaryDirectory() as scratch:
        batch = pathlib.Path(scratch, "batch.npz")
        np.savez(batch, images=images, scores=expected)
        # Isolated mode and another folder keep this package off the path of
        # a process started from its checkout.
        process = subprocess.run(
            [
                sys.executable,
                "-I",
                "-c",
                _READ_BACK,
                str(folder.absolute()),
                KERAS_FILE,
                SAVED_MODEL_FOLDER,
                str(batch),
            ],
            cwd=scratch,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
        )
    if process.returncode:
        reason = process.stderr.strip().splitlines() or ["no message"]
        raise ValueError(
            "`classifier` must load from its files with only TensorFlow and "
            f"Keras. Received: {reason[-1]}"
        )
    scale = max(1.0, float(np.max(np.abs(expected))))
    for line in process.stdout.splitlines():
        name, difference = line.split()
        if not float(difference) <= _TOLERANCE * scale:
            raise ValueError(
                f"`classifier` must give the same scores from its {name} file "
                f"within {_TOLERANCE * scale:g}. Received: a difference of "
                f"{difference}"
            )
