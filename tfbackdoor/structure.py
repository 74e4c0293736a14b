"""The layers of any Keras model, by name, and what they compute."""

import contextlib
import functools
import threading

import keras


def named_layers(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """All layers without sublayers, by name, in the order of the model.

    Args:
        model: functional, sequential, nested or subclassed model.

    Returns:
        From name to layer; a layer inside another is named `outer/inner`, a
        name met again gets a number.
    """
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


class SymbolicGraph:
    """Which layers with weights the symbolic tensors of a model come from.

    Reads functional and sequential models, nested ones included; layers of a
    subclassed model were never called on symbolic tensors and have none.
    """

    def __init__(self, model: keras.Model):
        self._outer = {}
        self._bridge(model)

    def inputs(self, layer: keras.layers.Layer) -> list:
        """The symbolic tensors that `layer` was called on."""
        # No public name gives all calls of a layer that is shared.
        return [
            tensor
            for node in layer._inbound_nodes
            for tensor in node.input_tensors
        ]

    def weighted_sources(self, tensor) -> list[keras.layers.Layer]:
        """The first layers with weights before `tensor`.

        Walks back through operations without weights (activations, sums,
        pools), into nested models and out of them.
        """
        history = tensor._keras_history
        operation = history.operation
        if getattr(operation, "outputs", None) and _is_model(operation):
            before = [operation.outputs[history.tensor_index]]
        elif getattr(operation, "weights", None):
            return [operation]
        elif id(operation) in self._outer:
            before = self._outer[id(operation)]
        else:
            node = operation._inbound_nodes[history.node_index]
            before = node.input_tensors
        return [
            source
            for earlier in before
            for source in self.weighted_sources(earlier)
        ]

    def _bridge(self, model):
        """Notes what each input of a nested model was called on."""
        for layer in model.layers:
            if not (_is_model(layer) and getattr(layer, "inputs", None)):
                continue
            for node in layer._inbound_nodes:
                for inner, outer in zip(layer.inputs, node.input_tensors):
                    operation = inner._keras_history.operation
                    self._outer.setdefault(id(operation), []).append(outer)
            self._bridge(layer)


class OutputRecorder:
    """Records what some layers of a model compute during a call of it.

    Works for layers at any depth of any kind of model, and for replicas that
    trace in threads of their own. Outside the context the layers are as they
    were. A layer called several times gives its last output.

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
        self._local = threading.local()
        self._lock = threading.Lock()
        self._users = 0

    @contextlib.contextmanager
    def recording(self):
        """A context that yields the dict from name to output."""
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._install()
        self._local.outputs = outputs = {}
        try:
            yield outputs
        finally:
            self._local.outputs = {}
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    for layer in self._layers.values():
                        del layer.call

    def _install(self):
        for name, layer in self._layers.items():
            layer.call = self._recorded(name, layer.call)

    def _recorded(self, name, call):
        @functools.wraps(call)
        def recorded_call(*args, **kwargs):
            output = call(*args, **kwargs)
            self._local.outputs.pop(name, None)
            self._local.outputs[name] = output
            return output

        return recorded_call


def _is_model(operation):
    return isinstance(operation, keras.Model)


def _unused(name, taken):
    number, candidate = 1, name
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    return candidate
