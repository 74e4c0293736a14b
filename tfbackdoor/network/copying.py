"""Copies of classifiers, with weights of their own."""

import tempfile

import keras

from tfbackdoor.network import structure
from tfbackdoor.network import trainable


def copy_classifier(classifier: keras.Model) -> keras.Model:
    """A copy with weights of its own, and the same layers trainable.

    Raises:
        ValueError: where Keras cannot copy it (a subclassed model that is not
            registered as serialisable).
    """
    try:
        copied = keras.models.clone_model(classifier)
    except (TypeError, ValueError, NotImplementedError):
        copied = _copy_by_file(classifier)
    else:
        copied.set_weights(classifier.get_weights())
        structure.refresh_statistics(copied)
    trainable.copy_flags(classifier, copied)
    return copied


def _copy_by_file(classifier):
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/classifier.keras"
        try:
            classifier.save(path)
            return keras.models.load_model(path, compile=False)
        except Exception as error:
            raise ValueError(
                "`classifier` must be a model that Keras can copy: functional, "
                "sequential, or subclassed with get_config and registered as "
                f"serialisable. Received: {type(classifier).__name__}"
            ) from error
