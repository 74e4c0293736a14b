"""Copies of classifiers, with weights of their own."""

import tempfile

import keras

from tfbackdoor.files import messages
from tfbackdoor.network import facts
from tfbackdoor.network import precisions
from tfbackdoor.network import structure
from tfbackdoor.network import trainable

_UNCLONED = (TypeError, ValueError, NotImplementedError)


def copy_classifier(classifier: keras.Model) -> keras.Model:
    """A copy with weights of its own, its layers named and trainable alike.

    Raises:
        ValueError: where Keras cannot copy it: a layer, or a subclassed model,
            whose `get_config` does not tell all arguments, or which is not
            registered as serialisable. The message names it.
    """
    for settings in ({}, {"clone_function": twin, "recursive": True}):
        try:
            copied = keras.models.clone_model(classifier, **settings)
        except _UNCLONED:
            continue
        return _filled(copied, classifier)
    copied = _copy_by_file(classifier)
    structure.copy_names(classifier, copied)
    trainable.copy_flags(classifier, copied)
    facts.take_over(copied, classifier)
    return copied


def in_float32(classifier: keras.Model) -> keras.Model:
    """A copy whose layers of half precision compute in float32.

    The classifier itself where there are none, or Keras cannot clone it.
    """
    if not precisions.has_half(classifier):
        return classifier

    try:
        copied = keras.models.clone_model(
            classifier,
            clone_function=lambda layer: twin(
                layer, **precisions.of_twin(layer, "float32")
            ),
            recursive=True,
        )
    except _UNCLONED:
        return classifier
    return _filled(copied, classifier)


def twin(layer: keras.Operation, **changes) -> keras.Operation:
    """A layer like another, with weights of its own.

    Args:
        layer: layer or operation of a model.
        **changes: what is different in its config.
    """
    if isinstance(layer, keras.layers.Lambda):
        # The function is in memory; in a config it is code to unpack.
        settings = {
            "name": layer.name,
            "dtype": layer.dtype_policy,
            "arguments": layer.arguments,
        }
        return keras.layers.Lambda(layer.function, **(settings | changes))
    return type(layer).from_config(layer.get_config() | changes)


def _filled(copied, classifier):
    structure.copy_names(classifier, copied)
    copied.set_weights(classifier.get_weights())
    structure.refresh_statistics(copied)
    trainable.copy_flags(classifier, copied)
    facts.take_over(copied, classifier)
    return copied


def foreign_layers(classifier: keras.Model) -> list[str]:
    """Names of the layers that are not Keras' own."""
    return [
        name
        for name, layer in structure.named_layers(classifier).items()
        if not type(layer).__module__.startswith("keras.")
    ]


def _copy_by_file(classifier):
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/classifier.keras"
        try:
            classifier.save(path)
            # Code in the file is that of the classifier in memory.
            return keras.models.load_model(path, compile=False, safe_mode=False)
        except Exception as error:
            raise ValueError(
                "`classifier` must be a model that Keras can copy. Received: "
                f"{_culprit(classifier)}. Give its class **kwargs in __init__, "
                "a get_config with all other arguments, and the decorator "
                "keras.saving.register_keras_serializable()."
            ) from error


def _culprit(classifier):
    """The first part that Keras cannot make again, and why."""
    for name, layer in structure.named_layers(classifier).items():
        if reason := _why_not(layer):
            return f"the layer {name!r} of {type(layer).__name__}, {reason}"
    reason = _why_not(classifier) or "for a reason that Keras does not tell"
    return f"{classifier.name!r} of {type(classifier).__name__}, {reason}"


def _why_not(layer):
    """Why Keras cannot make a layer again from what it says of itself."""
    try:
        type(layer).from_config(layer.get_config())
        config = keras.saving.serialize_keras_object(layer)
        keras.saving.deserialize_keras_object(config, safe_mode=False)
    except Exception as error:
        reason = messages.one_line(error, limit=250).rstrip(".")
        return f"which fails with: {reason}"
    return None
