"""The symbolic graph of a model: which tensors come from which layers."""

import collections

import keras

from tfbackdoor.network import remembering


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

    @classmethod
    def of(cls, model: keras.Model) -> "SymbolicGraph":
        """The graph of `model`, read once and then remembered."""
        return _graph(model)

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
        node = node_of(tensor)
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
        for node in nodes_of(model):
            self._calls[id(node.operation)].append(node)
            self._uses.update(map(id, node.input_tensors))
        self._uses.update(map(id, getattr(model, "outputs", None) or []))
        for layer in model.layers:
            if is_model(layer):
                self._enter(layer)
                self._read(layer)

    def _enter(self, nested):
        """Notes where the inputs of a nested model lead in."""
        for position, tensor in enumerate(
            getattr(nested, "inputs", None) or []
        ):
            entrance = tensor._keras_history.operation
            self._entrances[id(entrance)] = nested, position


@remembering.once_a_model
def _graph(model):
    return SymbolicGraph(model)


def output_of(model: keras.Model):
    """The symbolic output of a model with a graph, a structure if it is one."""
    # Of a sequential model Keras tells only the list of them.
    is_sequential = isinstance(model, keras.Sequential)
    return model.outputs[0] if is_sequential else model.output


def call(model: keras.Model, images, *, training: bool = False):
    """What `model` gives for images, in whatever structure it takes them."""
    return model(as_input(model, images), training=training)


def call_for_scores(model: keras.Model, images):
    """The one tensor that `model` gives for images, out of its list or dict.

    Raises:
        ValueError: where it gives several.
    """
    outputs = keras.tree.flatten(call(model, images))
    if len(outputs) != 1:
        raise ValueError(
            "`classifier` must have one output: `output=` of load_classifier "
            f"picks one by its name. Received: {model.name}, which has "
            f"{len(outputs)} outputs."
        )
    return outputs[0]


def as_input(model: keras.Model, images):
    """Images in the structure in which `model` takes its one input.

    Keras warns where a model of `{"image": input}` or `[input]` is called on a
    bare tensor.
    """
    if takes_a_tensor(model):
        return images
    return keras.tree.map_structure(lambda _: images, model.input)


def takes_a_tensor(model: keras.Model) -> bool:
    """Whether the one input of `model` is given as it is, not in a dict."""
    if isinstance(model, keras.Sequential):
        return True
    has_graph = getattr(model, "inputs", None)
    return not has_graph or isinstance(model.input, keras.KerasTensor)


def is_model(operation) -> bool:
    """Whether a node of a graph is a model nested in it."""
    return isinstance(operation, keras.Model)


def nodes_of(model) -> list:
    """The calls that make up the graph of `model` itself."""
    # No public name tells them from calls of the same layers elsewhere.
    graph = getattr(model, "_functional", model)
    by_depth = getattr(graph, "_nodes_by_depth", {})
    return [node for nodes in by_depth.values() for node in nodes]


def node_of(tensor):
    """The call that computes `tensor`, looked up in nested models."""
    history = tensor._keras_history
    operation = history.operation
    if is_model(operation) and getattr(operation, "outputs", None):
        return node_of(operation.outputs[history.tensor_index])
    return operation._inbound_nodes[history.node_index]
