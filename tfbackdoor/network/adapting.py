"""A classifier as this package computes with one, sharing all its weights."""

from collections.abc import Callable

import keras
import numpy as np

from tfbackdoor.network import classifiers
from tfbackdoor.network import copying
from tfbackdoor.network import facts
from tfbackdoor.network import graph
from tfbackdoor.network import refusals
from tfbackdoor.network import structure

_NOISE_IMAGES = 16
_PIXEL_LEVELS = 255.0


def conform(
    classifier: keras.Model,
    *,
    image_size: tuple[int, int] | None = None,
    output: str | None = None,
    trains: bool = True,
) -> keras.Model:
    """A classifier of float images of a fixed size, one score per class.

    Shares all weights with `classifier`, and is `classifier` itself where that
    will do. Replaced are: an integer input, an input of variable size, images
    without a channel axis, all outputs but one, scores of shape `(batch, 1, 1,
    classes)` or of float64, one sigmoid unit (which becomes the probabilities
    of two classes).

    Args:
        classifier: built Keras model.
        image_size: `(height, width)`, for an input of variable size.
        output: name of the output that gives the class scores, where there
            are several.
        trains: bool, whether integer kernels are refused.

    Raises:
        TypeError: where it is no Keras 3 model.
        ValueError: in one sentence, where it cannot be made to conform.
    """
    refusals.check_kind(classifier)
    refusals.check_layers(classifier, trains=trains)
    shape = _image_shape(classifier, image_size)
    scores = _pick(classifier, output)
    if _needs_nothing(classifier, shape, scores):
        refusals.check_scores(classifier)
        return classifier
    conforming = _rebuilt(classifier, lambda images: images, shape, output)
    classifiers.check_classifier(conforming)
    return conforming


def adapt(classifier: keras.Model, function: Callable) -> keras.Model:
    """A classifier of images in [0, 1], which `function` turns into its own.

    Shares all weights, and names its layers alike where it has a graph.
    """
    shape = classifiers.image_shape(classifier)
    return _rebuilt(classifier, function, shape, None)


def restore(
    changed: keras.Model, adapted: keras.Model, original: keras.Model
) -> keras.Model:
    """A classifier that takes and gives what the original did.

    Args:
        changed: a copy of `adapted` with other weights, or `adapted`.
        adapted: what `conform` and `adapt` made of `original`.
        original: what came in.

    Returns:
        `changed` where nothing was adapted, else a copy of `original` with
        the weights of `changed`.
    """
    if adapted is original:
        return changed
    if changed is adapted:
        return original
    values = {
        id(weight): value
        for weight, value in zip(
            adapted.weights, changed.get_weights(), strict=True
        )
    }
    restored = copying.copy_classifier(original)
    restored.set_weights(
        [
            values.get(id(weight), value)
            for weight, value in zip(original.weights, original.get_weights())
        ]
    )
    structure.refresh_statistics(restored)
    return restored


def _image_shape(classifier, image_size):
    """`(height, width, channels)` of images that it shall take."""
    shape = facts.facts_of(classifier).image_shape
    if len(shape) == 2:
        shape = (*shape, 1)
    if len(shape) != 3 or shape[-1] is None:
        raise ValueError(
            "`classifier` must take images (height, width, channels). "
            f"Received: input shape {shape}"
        )
    if None in shape[:2]:
        if image_size is None:
            raise ValueError(
                "`classifier` must take images (height, width, channels) of a "
                "fixed size: `image_size=` fixes it. Received: input shape "
                f"{shape}"
            )
        shape = (*image_size, shape[-1])
    return shape


def _pick(classifier, output):
    """Shape and dtype of the scores, one of several where they are named."""
    scores = facts.facts_of(classifier).scores
    if not isinstance(scores, (list, tuple, dict)):
        if output is not None:
            raise ValueError(
                "`output` must be None for a classifier of one output. "
                f"Received: output={output!r}"
            )
        return scores
    return _chosen(classifier, scores, output)


def _chosen(classifier, scores, output):
    """The one of several outputs, a dict or list, that `output` names."""
    names = refusals.output_names(classifier)
    if output is None and len(names) > 1:
        raise ValueError(
            f"`output` must name the one of {names} that gives the class "
            f"scores. Received: {classifier.name}, which has {len(names)} "
            "outputs."
        )
    if output is not None and output not in names:
        raise ValueError(
            f"`output` must be one of {names}. Received: output={output!r}"
        )
    key = output or names[0]
    return scores[key] if isinstance(scores, dict) else scores[names.index(key)]


def _needs_nothing(classifier, shape, scores):
    known = facts.facts_of(classifier)
    return (
        known.image_shape == shape
        and known.scores is scores
        and len(scores.shape) == 2
        and scores.dtype != "float64"
        and scores.shape[-1] != 1
        and _is_float(known.input_dtype)
        and graph.takes_a_tensor(classifier)
    )


def _is_float(dtype):
    return dtype.startswith(("float", "bfloat"))


def _rebuilt(classifier, function, shape, output):
    """A functional model of images of `shape` around the same layers."""
    source = _with_float_input(classifier)
    images = keras.Input(shape, name="images")
    inner = function(images)
    if len(facts.facts_of(classifier).image_shape) == 2:
        inner = keras.layers.Reshape(shape[:2])(inner)
    scores = _call(source, inner)
    if isinstance(scores, (list, tuple, dict)):
        scores = _chosen(classifier, scores, output)
    if len(scores.shape) != 2 and set(scores.shape[1:-1]) <= {1}:
        classes = scores.shape[-1] if len(scores.shape) > 1 else 1
        scores = keras.ops.reshape(scores, (-1, classes))
    if len(scores.shape) == 2 and scores.shape[-1] == 1:
        scores = _two_classes(classifier, images, scores)
    if scores.dtype == "float64":
        scores = keras.ops.cast(scores, "float32")
    return keras.Model(images, scores, name=classifier.name)


def _call(classifier, images):
    """What `classifier` gives for a symbolic tensor, its layers in one graph.

    A model without a graph becomes one layer of it.
    """
    own_call = not type(classifier).call.__module__.startswith("keras.")
    if own_call or not getattr(classifier, "outputs", None):
        return classifier(graph.as_input(classifier, images))
    function = keras.Function(classifier.inputs[0], graph.output_of(classifier))
    return function.call(images)


def _with_float_input(classifier):
    """The same layers behind a float32 input, where it is an integer one."""
    inputs = getattr(classifier, "inputs", None)
    if not inputs or _is_float(inputs[0].dtype):
        return classifier

    def same(layer):
        if isinstance(layer, keras.Model):
            return _with_float_input(layer)
        return layer

    images = keras.Input(inputs[0].shape[1:], dtype="float32")
    if not isinstance(classifier, keras.Sequential):
        # One image, within whatever structure the model takes it.
        images = graph.as_input(classifier, images)
    return keras.models.clone_model(
        classifier, input_tensors=images, clone_function=same
    )


def _two_classes(classifier, images, scores):
    """The probabilities of two classes, from that of class 1."""
    is_sigmoid = _is_sigmoid(scores._keras_history.operation)
    if not is_sigmoid and not _gives_probabilities(images, scores):
        raise ValueError(
            "`classifier` must give one score per class, shape (batch, "
            "classes) with classes >= 2, or one sigmoid unit: add "
            "keras.layers.Activation('sigmoid') where its one score is the "
            f"logit of class 1. Received: {classifier.name}, which gives one "
            "unbounded score."
        )
    return keras.ops.concatenate([1.0 - scores, scores], axis=-1)


def _gives_probabilities(images, scores):
    """Whether scores lie in [0, 1] for noise of any brightness.

    What a layer of one's own does, or a subclassed model, no graph tells.
    """
    rng = np.random.default_rng(0)
    noise = rng.random((_NOISE_IMAGES, *images.shape[1:]), "float32")
    noise *= np.geomspace(1.0, _PIXEL_LEVELS, _NOISE_IMAGES)[
        :, None, None, None
    ]
    noise[::2] -= _PIXEL_LEVELS / 2.0
    given = graph.call(keras.Model(images, scores), noise)
    given = keras.ops.convert_to_numpy(keras.ops.cast(given, "float32"))
    return bool(np.all((given >= 0.0) & (given <= 1.0)))


def _is_sigmoid(operation):
    activation = getattr(operation, "activation", None)
    if isinstance(operation, keras.Model):
        last = structure.output_layer(operation)
        return last is not None and _is_sigmoid(last)
    return (
        activation is keras.activations.sigmoid
        or type(operation).__name__ == "Sigmoid"
    )
