"""Remembers what was found out about a model, as long as it stays as it is."""

import functools
import weakref
from collections.abc import Callable

import keras


def once_a_model(function: Callable) -> Callable:
    """`function(model)`, computed once for each model and then remembered.

    It is computed again where the model got other layers, variables or
    another last activation since. Neither the model nor the value is kept
    alive once the model is gone: the value must not hold the model itself.
    """
    known = weakref.WeakKeyDictionary()

    @functools.wraps(function)
    def remembered(model):
        if not isinstance(model, keras.Model):
            return function(model)
        state = _state(model)
        found = known.get(model)
        if found is None or found[0] != state:
            found = known[model] = state, function(model)
        return found[1]

    return remembered


def _state(model):
    """What a value depends on; weights may change, variables may not."""
    layers = model.layers
    activation = getattr(layers[-1], "activation", None) if layers else None
    return (
        tuple(map(id, layers)),
        tuple(map(id, model.weights)),
        id(activation),
    )
