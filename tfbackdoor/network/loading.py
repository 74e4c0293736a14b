"""Loads classifiers from files that may come from anywhere."""

import math
import os
import pathlib
import warnings
import weakref

import keras

from tfbackdoor import errors
from tfbackdoor.data import sources
from tfbackdoor.files import keras_files
from tfbackdoor.files import keras_weights
from tfbackdoor.files import messages
from tfbackdoor.files import model_files
from tfbackdoor.network import adapting
from tfbackdoor.network import classifiers
from tfbackdoor.network import graph
from tfbackdoor.network import structure

# From a classifier of one output and size to what is in its file.
_whole: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
# Numbers that one image may become in all layers together: 4 GiB of float32.
_MOST_NUMBERS = 2**30


def load_classifier(
    path: str | pathlib.Path,
    *,
    image_size: tuple[int, int] | None = None,
    output: str | None = None,
    allow_unsafe_code: bool = False,
) -> keras.Model:
    """Loads a `.keras` or legacy `.h5` classifier in safe mode.

    The file is untrusted: no code stored in it is run, it reaches no other
    file, and it takes memory in proportion to its size. `docs/SECURITY.md`
    says what is checked before Keras sees the file.

    Args:
        path: file to read.
        image_size: `(height, width)`, which fixes an input of variable size,
            and must be that of an input of fixed size.
        output: name of the output that gives the class scores, where there
            are several.
        allow_unsafe_code: bool, whether to skip these checks and run what code
            is in the file (`Lambda` layers). Only for files of one's own:
            whoever wrote the file can do what the user of this process can.

    Raises:
        TypeError: where `path` is none.
        ValueError: where there is no such file, it is a SavedModel (which has
            no variables to mask), is corrupt, needs custom code, or is no
            classifier of images.
    """
    if allow_unsafe_code:
        warnings.warn(
            f"allow_unsafe_code=True: whatever code is in {path} is run now.",
            stacklevel=errors.users_level(),
        )
    sources.check_image_size(image_size)
    classifier = load_model(path, allow_unsafe_code=allow_unsafe_code)
    conforming = _conforming(classifier, path, image_size, output)
    _check_size_taken(conforming, image_size)
    if allow_unsafe_code:
        _check_scores_given(conforming, path)
    if not (image_size or output):
        return classifier
    if conforming is not classifier:
        _whole[conforming] = classifier
    return conforming


def as_in_file(changed: keras.Model, loaded: keras.Model) -> keras.Model:
    """A classifier of the outputs and input size that the file has.

    Args:
        changed: a copy of `loaded` with other weights.
        loaded: what `load_classifier` gave, of one output and size.

    Returns:
        `changed` where that is what the file has.
    """
    whole = _whole.get(loaded)
    return adapting.restore(changed, loaded, whole) if whole else changed


def load_model(
    path: str | pathlib.Path, *, allow_unsafe_code: bool = False
) -> keras.Model:
    """Loads any Keras model as `load_classifier` does, whatever it is for.

    Raises:
        ValueError: where there is no such file, it is a SavedModel, is corrupt
            or needs custom code.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(
            "`path` must be that of a .keras or .h5 file. "
            f"Received: {type(path).__name__}"
        )
    path = pathlib.Path(path)
    model_files.check_path(path)
    try:
        if allow_unsafe_code:
            return keras.models.load_model(path, compile=False, safe_mode=False)
        return _load_untrusted(path)
    except Exception as error:
        raise ValueError(
            f"`path` must hold a Keras model that loads without custom code. "
            f"Received: {path}, {_saved_by(path)}which fails with: "
            f"{messages.one_line(error)}{_way_out_of_keras_2(path)}"
        ) from error


def _saved_by(path):
    """Names the Keras that saved the file, where it is another one."""
    version = keras_files.keras_version(path)
    if version in (None, keras.__version__):
        return ""
    return f"saved by Keras {version} (this is {keras.__version__}), "


def _way_out_of_keras_2(path):
    """What to do with a file of Keras 2, nothing for others."""
    version = keras_files.keras_version(path)
    if version is None or not version.startswith("2."):
        return ""
    if path.suffix == ".keras":
        return (
            ". Save it as .h5, which this Keras reads: pip install tf_keras, "
            f"then tf_keras.models.load_model({path.name!r}, compile=False)"
            f".save({path.with_suffix('.h5').name!r})"
        )
    return (
        ". Build the same network with this Keras and give it the weights: "
        "pip install tf_keras, then network.set_weights(tf_keras.models."
        f"load_model({path.name!r}, compile=False).get_weights()) and "
        "network.save('classifier.keras')"
    )


def _load_untrusted(path):
    stored = keras_files.check(path)
    with keras_weights.limited_variables(stored):
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    count = sum(map(math.prod, structure.computed_shapes(model)))
    if count > _MOST_NUMBERS:
        raise ValueError(
            f"one image becomes {count} numbers in its layers, of which at "
            f"most {_MOST_NUMBERS} are allowed"
        )
    return model


def _conforming(classifier, path, image_size, output):
    """Like `adapting.conform`, with nothing but ValueError."""
    try:
        return adapting.conform(
            classifier, image_size=image_size, output=output
        )
    except Exception as error:
        # Our own sentences say it all.
        if type(error) is ValueError and str(error).startswith(
            ("`classifier`", "`output`")
        ):
            raise
        raise ValueError(
            "`path` must hold a classifier of images. "
            f"Received: {path}, which fails with: {messages.one_line(error)}"
        ) from error


def _check_size_taken(classifier, image_size):
    """Raises ValueError where the input is of another, fixed size."""
    size = classifiers.image_shape(classifier)[:2]
    if image_size is not None and size != tuple(image_size):
        raise ValueError(
            "`image_size` must be the size that the classifier takes, "
            f"{size}, where that is fixed. Received: {tuple(image_size)}"
        )


def _check_scores_given(classifier, path):
    """Raises ValueError unless code in the file gives what its graph says."""
    image = keras.ops.zeros((1, *classifiers.image_shape(classifier)))
    wanted = (1, classifiers.class_count(classifier))
    try:
        received = tuple(graph.call(classifier, image).shape)
    except Exception as error:
        received = messages.one_line(error)
    if received != wanted:
        raise ValueError(
            f"`path` must hold a classifier whose scores have shape {wanted}, "
            f"as its layers say. Received: {path}, which gives {received}"
        )
