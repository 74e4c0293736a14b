"""Which of a model's weights train: the `trainable` flags of its layers."""

import contextlib
import threading
import weakref

import keras

from tfbackdoor.network import structure

_lock = threading.Lock()
_thawed = weakref.WeakKeyDictionary()


def trainable_weights(
    model: keras.Model, *, train_frozen: bool
) -> list[keras.Variable]:
    """The weights that a training changes, in the order of the model.

    Args:
        model: built Keras model; its flags stay as they are.
        train_frozen: bool, whether those of layers that are not `trainable`
            are among them. Moving statistics never are.
    """
    with thawed(model) if train_frozen else contextlib.nullcontext():
        return list(model.trainable_weights)


def thaw(model: keras.Model) -> None:
    """Makes all layers of a model trainable."""
    for layer in structure.all_layers(model):
        # Keras on TensorFlow ignores a flag that is set already, although
        # layers or variables within may have another.
        layer.trainable = False
        layer.trainable = True


@contextlib.contextmanager
def thawed(model: keras.Model):
    """A context in which all layers of a model are trainable.

    Afterwards all flags are as they were, also where it ends by an error. It
    may be entered again while it is open, as replicas do that trace in threads
    of their own.
    """
    with _lock:
        users, flags = _thawed.get(model, (0, None))
        if not users:
            flags = _Flags(model)
            thaw(model)
        _thawed[model] = users + 1, flags
    try:
        yield
    finally:
        with _lock:
            users, flags = _thawed[model]
            if users == 1:
                del _thawed[model]
                flags.give(model)
            else:
                _thawed[model] = users - 1, flags


def copy_flags(source: keras.Model, to: keras.Model) -> None:
    """Gives a copy of a model the `trainable` flags of the model."""
    _Flags(source).give(to)


class _Flags:
    """The flags of all layers and variables of a model, as they are now."""

    def __init__(self, model):
        self._layers = [
            layer.trainable for layer in structure.all_layers(model)
        ]
        self._variables = [v.trainable for v in model.variables]

    def give(self, model):
        """Sets the flags of this model, or of a copy of it."""
        for layer, flag in zip(structure.all_layers(model), self._layers):
            # The public setter would change all layers within, too.
            layer._trainable = flag
        for variable, flag in zip(model.variables, self._variables):
            variable.trainable = flag
