"""Where a model's neurons are."""

import dataclasses

import keras

from tfbackdoor import structure

_NORMALISATIONS = (
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.GroupNormalization,
)
_KERNELS = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.Dense,
)
_SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)


@dataclasses.dataclass(frozen=True, eq=False)
class Neurons:
    """The neurons of one layer: the channels of its last axis.

    Args:
        layer: str, name of the layer, `outer/inner` if nested.
        scale: variable `(..., neurons)`, what a mask multiplies: gamma of a
            normalisation layer, the kernel of any other.
        offset: variable `(neurons,)`, beta or bias, or None.
    """

    layer: str
    scale: keras.Variable
    offset: keras.Variable | None

    @property
    def count(self) -> int:
        """Number of neurons."""
        return self.scale.shape[-1]


def find_neurons(
    classifier: keras.Model,
) -> tuple[list[Neurons], dict[str, str]]:
    """Finds the neurons that ANP can mask.

    A neuron is a channel of a normalisation layer with a scale. Where a
    convolution or dense layer is not followed by a normalisation, each of its
    output channels is one. The classes are no neurons.

    Args:
        classifier: built `keras.Model` of any kind.

    Returns:
        The neurons by layer, in the order of the model, and, from layer name
        to reason, the layers with weights that hold none.

    Raises:
        ValueError: where there is no neuron to mask.
    """
    layers = structure.named_layers(classifier)
    graph = structure.SymbolicGraph(classifier)
    normalised = _normalised(layers, graph)
    head = _head(classifier, layers, graph)
    found, skipped = [], {}
    for name, layer in layers.items():
        if not layer.weights:
            continue
        if isinstance(layer, _NORMALISATIONS):
            scale, offset = getattr(layer, "gamma", None), layer.beta
            reason = None if scale is not None else "normalises without scale"
        elif layer in head:
            reason = "gives the class scores"
        elif layer in normalised:
            reason = "followed by a normalisation, whose channels are masked"
        elif isinstance(layer, _KERNELS):
            scale, offset, reason = layer.kernel, layer.bias, None
        elif isinstance(layer, _SEPARABLE):
            scale, offset, reason = layer.pointwise_kernel, layer.bias, None
        else:
            reason = f"no maskable neurons in a {type(layer).__name__}"
        if reason is None and len(scale.shape) == 0:
            reason = "scale has no channels"
        if reason is None:
            found.append(Neurons(name, scale, offset))
        else:
            skipped[name] = reason
    if not found:
        raise ValueError(
            "`classifier` must hold neurons to mask: a normalisation with a "
            "scale, or a convolution or dense layer before the last. "
            f"Received: {classifier.name}, where {skipped or 'no layer'} "
            "was found."
        )
    return found, skipped


def _normalised(layers, graph):
    """The layers whose channels a normalisation with scale rescales."""
    normalisations = [
        layer
        for layer in layers.values()
        if isinstance(layer, _NORMALISATIONS)
        and getattr(layer, "gamma", None) is not None
    ]
    tensors = [
        tensor for layer in normalisations for tensor in graph.inputs(layer)
    ]
    if normalisations and not tensors:
        # A subclassed model has no graph to read: its normalisations stand
        # for the neurons of all other layers.
        return [x for x in layers.values() if x not in normalisations]
    return [s for tensor in tensors for s in graph.weighted_sources(tensor)]


def _head(classifier, layers, graph):
    """The layers that give the class scores."""
    if getattr(classifier, "outputs", None):
        return [
            source
            for tensor in classifier.outputs
            for source in graph.weighted_sources(tensor)
        ]
    kernels = [x for x in layers.values() if isinstance(x, _KERNELS)]
    return kernels[-1:]
