"""The layers of any Keras model, by name, and what they compute."""

import collections
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
    """Which layers the symbolic tensors of a model come from.

    Reads functional and sequential models, nested ones included; layers of a
    subclassed model were never called on symbolic tensors and have none.
    Calls of the same layers in other models do not count.
    """

    def __init__(self, model: keras.Model):
        self._calls = collections.defaultdict(list)
        self._uses = collections.Counter()
        self._entrances = {}
        self._read(model)

    def inputs(self, layer: keras.layers.Layer) -> list:
        """The symbolic tensors that `layer` was called on."""
        return [
            tensor
            for node in self._calls[id(layer)]
            for tensor in node.input_tensors
        ]

    def weighted_sources(self, tensor) -> list[keras.layers.Layer]:
        """The first layers with weights before `tensor`.

        Walks back through operations without weights (activations, sums,
        pools), into nested models and out of them.
        """
        node = _node(tensor)
        if getattr(node.operation, "weights", None):
            return [node.operation]
        before = node.input_tensors
        if id(node.operation) in self._entrances:
            nested, position = self._entrances[id(node.operation)]
            calls = self._calls[id(nested)]
            before = [call.input_tensors[position] for call in calls]
        return [
            source
            for earlier in before
            for source in self.weighted_sources(earlier)
        ]

    def sole_source(
        self, layer: keras.layers.Layer
    ) -> keras.layers.Layer | None:
        """The layer that feeds `layer` and nothing else, nothing between."""
        inputs = self.inputs(layer)
        if len(inputs) != 1 or self._uses[id(inputs[0])] != 1:
            return None
        source = inputs[0]._keras_history.operation
        return source if len(self._calls[id(source)]) == 1 else None

    def _read(self, model):
        """Notes the calls in `model` and in the models nested in it."""
        for node in _nodes(model):
            self._calls[id(node.operation)].append(node)
            self._uses.update(map(id, node.input_tensors))
        self._uses.update(map(id, getattr(model, "outputs", None) or []))
        for position, tensor in enumerate(getattr(model, "inputs", None) or []):
            entrance = tensor._keras_history.operation
            self._entrances[id(entrance)] = model, position
        for layer in model.layers:
            if _is_model(layer):
                self._read(layer)


def output_layer(model: keras.Model) -> keras.layers.Layer | None:
    """The layer that gives the output, None in a model without a graph."""
    if not getattr(model, "outputs", None):
        return None
    return _node(model.outputs[0]).operation


def computed_shapes(model: keras.Model) -> list[tuple[int, ...]]:
    """Shapes, without the batch, of all that one image becomes in a graph.

    Unknown sizes count as 1; what a subclassed model computes is unknown.
    """
    if not isinstance(model, keras.Model):
        return []
    shapes = [
        tuple(size or 1 for size in tensor.shape[1:])
        for node in _nodes(model)
        for tensor in node.output_tensors
    ]
    return shapes + [
        shape
        for layer in model.layers
        if _is_model(layer)
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

    @classmethod
    def of_names(cls, model: keras.Model, names) -> "OutputRecorder":
        """A recorder of the layers of `model` that `named_layers` calls so."""
        layers = named_layers(model)
        return cls({name: layers[name] for name in names})

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
            self._local.outputs[name] = self._kept(output, *args)
            return output

        return recorded_call

    def _kept(self, output, *inputs):
        return output


class InputRecorder(OutputRecorder):
    """Records what some layers are called on: their first argument."""

    def _kept(self, output, *inputs):
        return inputs[0]


def _is_model(operation):
    return isinstance(operation, keras.Model)


def _nodes(model):
    """The calls that make up the graph of `model` itself."""
    # No public name tells them from calls of the same layers elsewhere.
    graph = getattr(model, "_functional", model)
    by_depth = getattr(graph, "_nodes_by_depth", {})
    return [node for nodes in by_depth.values() for node in nodes]


def _node(tensor):
    """The call that computes `tensor`, looked up in nested models."""
    history = tensor._keras_history
    operation = history.operation
    if _is_model(operation) and getattr(operation, "outputs", None):
        return _node(operation.outputs[history.tensor_index])
    return operation._inbound_nodes[history.node_index]


def _unused(name, taken):
    number, candidate = 1, name
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    return candidate
