"""The layers of any Keras model, by name, and what they compute."""

import collections
import contextlib
import functools
import threading

import keras

from tfbackdoor.network import graph
from tfbackdoor.network import remembering

_lock = threading.Lock()
# From layer to how many recordings there are of it now, in all threads.
_recorded = collections.Counter()
# What a layer's own `call` was, where it was set on the layer itself.
_own_calls = {}
_local = threading.local()


def named_layers(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """All layers without sublayers, by name, in the order of the model.

    Args:
        model: functional, sequential, nested or subclassed model.

    Returns:
        From name to layer; a layer inside another is named `outer/inner`, a
        name met again gets a number.
    """
    return dict(_walk(model))


@remembering.once_a_model
def _walk(model):
    found, seen = {}, set()

    def visit(layer, prefix):
        # No public name lists the direct sublayers of a subclassed layer.
        children = layer._flatten_layers(include_self=False, recursive=False)
        for child in children:
            if id(child) in seen:
                continue
            seen.add(id(child))
            name = prefix + child.name
            if child._flatten_layers(include_self=False, recursive=False):
                visit(child, f"{name}/")
                continue
            found[_unused(name, found)] = child

    visit(model, "")
    return found


def all_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """The model and all layers in it, composite ones too."""
    # No public name lists them at any depth of a subclassed model.
    return list(model._flatten_layers())


def copy_names(source: keras.Model, to: keras.Model) -> None:
    """Gives the layers of a copy of a model the names of the model's.

    A subclassed model makes its layers anew, and Keras numbers them anew.
    """
    layers, copies = all_layers(source), all_layers(to)
    if list(map(type, layers)) == list(map(type, copies)):
        for layer, copied in zip(layers, copies):
            copied.name = layer.name


def output_layer(model: keras.Model) -> keras.layers.Layer | None:
    """The layer that gives the output, None in a model without a graph."""
    if not getattr(model, "outputs", None):
        return None
    return graph.node_of(model.outputs[0]).operation


def computed_shapes(model: keras.Model) -> list[tuple[int, ...]]:
    """Shapes, without the batch, of all that one image becomes in a graph.

    Unknown sizes count as 1; what a subclassed model computes is unknown.
    """
    if not isinstance(model, keras.Model):
        return []
    shapes = [
        tuple(size or 1 for size in tensor.shape[1:])
        for node in graph.nodes_of(model)
        for tensor in node.output_tensors
    ]
    return shapes + [
        shape
        for layer in model.layers
        if graph.is_model(layer)
        for shape in computed_shapes(layer)
    ]


def refresh_statistics(model: keras.Model) -> None:
    """Makes `Normalization` layers compute with the weights that they hold.

    Keras gives them a copy of their mean and variance to compute with, which
    setting their weights leaves as it is.
    """
    for layer in named_layers(model).values():
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


class OutputRecorder:
    """Records what some layers of a model compute during a call of it.

    Works for layers at any depth of any kind of model. Recordings of one
    layer may overlap or nest, in one thread or several: each sees the calls of
    its own thread alone, so that replicas may trace in threads of their own
    and others may call the model meanwhile. After the last of them the layers
    are as they were. A layer called several times gives its last output.

    Args:
        layers: dict from name to layer.

    Example:
        recorder = OutputRecorder({"tap": model.get_layer("group3")})
        with recorder.recording() as outputs:
            model(images)
        features = outputs["tap"]
    """

    def __init__(self, layers: dict[str, keras.layers.Layer]):
        self._layers = dict(layers)
        self._names = {}
        for name, layer in self._layers.items():
            self._names.setdefault(id(layer), []).append(name)

    @classmethod
    def of_names(cls, model: keras.Model, names) -> "OutputRecorder":
        """A recorder of the layers of `model` that `named_layers` calls so."""
        layers = named_layers(model)
        return cls({name: layers[name] for name in names})

    @contextlib.contextmanager
    def recording(self):
        """A context that yields the dict from name to output."""
        outputs = {}
        with _lock:
            for layer in self._layers.values():
                _install(layer)
        _of_thread().append((self, outputs))
        try:
            yield outputs
        finally:
            _local.recordings = [
                other for other in _of_thread() if other[1] is not outputs
            ]
            with _lock:
                for layer in self._layers.values():
                    _remove(layer)

    def _note(self, called, outputs, output, inputs):
        """Keeps what `called` gave, last of all so far."""
        for name in self._names.get(id(called), ()):
            outputs.pop(name, None)
            outputs[name] = self._kept(output, *inputs)

    def _kept(self, output, *inputs):
        return output


class InputRecorder(OutputRecorder):
    """Records what some layers are called on: their first argument."""

    def _kept(self, output, *inputs):
        return inputs[0]


def _of_thread():
    """The recordings of this thread, `(recorder, outputs)` each."""
    if not hasattr(_local, "recordings"):
        _local.recordings = []
    return _local.recordings


def _install(layer):
    """Makes the calls of `layer` noted, unless they are already."""
    _recorded[layer] += 1
    if _recorded[layer] > 1:
        return
    call = layer.call
    if "call" in vars(layer):
        _own_calls[layer] = call

    @functools.wraps(call)
    def noted_call(*args, **kwargs):
        output = call(*args, **kwargs)
        for recorder, outputs in _of_thread():
            recorder._note(layer, outputs, output, args)
        return output

    layer.call = noted_call


def _remove(layer):
    """Undoes `_install`, unless another recording goes on."""
    _recorded[layer] -= 1
    if _recorded[layer]:
        return
    del _recorded[layer]
    if layer in _own_calls:
        layer.call = _own_calls.pop(layer)
    else:
        del layer.call


def _unused(name, taken):
    number, candidate = 1, name
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    return candidate
