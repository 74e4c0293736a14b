"""Copies of classifiers, with weights of their own."""

import tempfile

import keras

from tfbackdoor.network import facts
from tfbackdoor.network import structure


def copy_classifier(classifier: keras.Model) -> keras.Model:
    """A copy with weights of its own.

    Raises:
        ValueError: where Keras cannot copy it (a subclassed model that is not
            registered as serialisable, a layer without get_config); the
            message names the layers at fault.
    """
    try:
        copied = keras.models.clone_model(classifier)
    except (TypeError, ValueError, NotImplementedError):
        return _copy_by_file(classifier)
    copied.set_weights(classifier.get_weights())
    structure.refresh_statistics(copied)
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
            copied = keras.models.load_model(path, compile=False)
        except Exception as error:
            raise ValueError(
                "`classifier` must be a model that Keras can copy: functional, "
                "sequential, or subclassed with get_config and registered as "
                f"serialisable. Received: {_at_fault(classifier)}"
            ) from error
    facts.take_over(copied, classifier)
    return copied


def _at_fault(classifier):
    """What of a classifier cannot be copied, in words."""
    layers = structure.named_layers(classifier)
    wrong = [name for name, layer in layers.items() if not _has_twin(layer)]
    if not wrong:
        return type(classifier).__name__
    kind = type(layers[wrong[0]]).__name__
    return (
        f"{classifier.name}, of whose layers {wrong} ({kind}) cannot be made "
        "again from get_config"
    )


def _has_twin(layer):
    """Whether a layer can be made again from its config."""
    try:
        type(layer).from_config(layer.get_config())
    except Exception:
        return False
    return True
