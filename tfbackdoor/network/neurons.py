"""Where a model's neurons are."""

import dataclasses
import math

import keras
import numpy as np

from tfbackdoor.network import compute_view
from tfbackdoor.network import graph as symbolic
from tfbackdoor.network import refusals
from tfbackdoor.network import remembering
from tfbackdoor.network import structure

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
_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
_TRANSPOSED = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)


@dataclasses.dataclass(frozen=True, eq=False)
class Neurons:
    """The neurons of one layer: the channels of its output.

    Args:
        layer: str, name of the layer, `outer/inner` if nested.
        source: the layer itself.
        scale: variable `(..., *mask_shape)`, what a mask multiplies: gamma of
            a normalisation layer, the kernel of any other; or None for a batch
            normalisation without gamma, masked as if it had one of ones.
        offset: variable `(neurons,)`, beta or bias, or None.
        mask_shape: ints, what a mask `(neurons,)` is reshaped to before it
            multiplies the scale: `(neurons,)`, `(channels, multiplier)` for a
            depthwise and `(neurons, 1)` for a transposed convolution.
        zeroed: pairs of a variable and the shape of a mask for it, what
            pruning sets to 0: the scale; without one, what feeds the batch
            normalisation and its moving mean, so that beta is all it gives.
    """

    layer: str
    source: keras.layers.Layer
    scale: keras.Variable | None
    offset: keras.Variable | None
    mask_shape: tuple[int, ...]
    zeroed: tuple[tuple[keras.Variable, tuple[int, ...]], ...]

    @property
    def count(self) -> int:
        """Number of neurons."""
        return math.prod(self.mask_shape)


def find_neurons(
    classifier: keras.Model,
) -> tuple[list[Neurons], dict[str, str]]:
    """Finds the neurons that ANP can mask.

    A neuron is a channel of a batch, layer or group normalisation. Where a
    convolution or dense layer is not followed by a normalisation, each of its
    output channels is one. The classes are no neurons.

    A batch normalisation without scale (`scale=False`) holds neurons where it
    directly follows one convolution or dense layer, whose weights a pruning
    can set to 0 in place of gamma, and Keras can clone the classifier.

    Args:
        classifier: built `keras.Model` of any kind.

    Returns:
        The neurons by layer, in the order of the model, and, from layer name
        to reason, the layers with weights that hold none.

    Raises:
        ValueError: where there is no neuron to mask, or layers were quantized.
    """
    refusals.check_layers(classifier)
    found, skipped = _find(classifier)
    return list(found), dict(skipped)


@remembering.once_a_model
def _find(classifier):
    layers = structure.named_layers(classifier)
    graph = symbolic.SymbolicGraph.of(classifier)
    cloned = any(map(_lacks_scale, layers.values())) and (
        compute_view.can_clone(classifier)
    )
    normalising = {
        id(layer): _of_normalisation(name, layer, graph, cloned)
        for name, layer in layers.items()
        if isinstance(layer, _NORMALISATIONS)
    }
    head = _head(classifier, layers, graph)
    rescaled, undone = _followed(layers, graph, normalising)
    found, skipped = [], {}
    for name, layer in layers.items():
        if not layer.weights:
            continue
        if layer in head:
            result = "gives the class scores"
        elif id(layer) in normalising:
            result = normalising[id(layer)]
        elif layer in rescaled:
            result = "followed by a normalisation, whose channels are masked"
        elif layer in undone:
            result = "followed by a normalisation that undoes any mask"
        else:
            result = _of_kernel(name, layer)
        if isinstance(result, Neurons):
            found.append(result)
        else:
            skipped[name] = result
    if not found:
        raise ValueError(
            "`classifier` must hold neurons to mask: a normalisation with a "
            "scale, or a convolution or dense layer before the last. "
            f"Received: {classifier.name}, where {skipped or 'no layer'} "
            "was found."
        )
    return found, skipped


def find_head(classifier: keras.Model) -> list[keras.layers.Layer]:
    """The layers that give the class scores, usually one."""
    return _head(
        classifier,
        structure.named_layers(classifier),
        symbolic.SymbolicGraph.of(classifier),
    )


def _of_normalisation(name, layer, graph, cloned):
    """The neurons of a normalisation, or the reason why it holds none."""
    if _lacks_scale(layer):
        return _of_unscaled(name, layer, graph, cloned)
    if layer.gamma is None:
        return "normalises without scale"
    shape = tuple(layer.gamma.shape)
    if len(shape) != 1:
        return f"has a scale of shape {shape}, not one a channel"
    return Neurons(
        name, layer, layer.gamma, layer.beta, shape, ((layer.gamma, shape),)
    )


def _of_unscaled(name, layer, graph, cloned):
    """The same of a batch normalisation without scale."""
    if not cloned:
        return "normalises without scale, in a model that Keras cannot clone"
    source = graph.sole_source(layer)
    feeding = source and _of_kernel(name, source)
    if not (
        isinstance(feeding, Neurons)
        and _normalises_outputs(layer, source, graph)
        and _keeps_zero(source, feeding.count)
    ):
        return (
            "normalises without scale, and does not directly follow one "
            "convolution or dense layer that can be pruned in its place"
        )
    each = (feeding.count,)
    offset = () if feeding.offset is None else ((feeding.offset, each),)
    zeroed = (*feeding.zeroed, *offset, (layer.moving_mean, each))
    return Neurons(name, layer, None, layer.beta, each, zeroed)


def _of_kernel(name, layer):
    """The neurons of a layer with a kernel, or why it holds none."""
    if isinstance(layer, _SEPARABLE):
        kernel = layer.pointwise_kernel
    elif isinstance(layer, (*_KERNELS, *_DEPTHWISE, *_TRANSPOSED)):
        kernel = layer.kernel
    else:
        return f"no maskable neurons in a {type(layer).__name__}"
    if not isinstance(kernel, keras.Variable):
        return "its kernel is computed from other variables"
    shape = tuple(kernel.shape[-1:])
    if isinstance(layer, _DEPTHWISE):
        shape = tuple(kernel.shape[-2:])
    elif isinstance(layer, _TRANSPOSED):
        shape = (kernel.shape[-2], 1)
    return Neurons(name, layer, kernel, layer.bias, shape, ((kernel, shape),))


def _lacks_scale(layer):
    """Whether `layer` normalises over the batch, with no gamma after it."""
    return (
        isinstance(layer, keras.layers.BatchNormalization)
        and layer.gamma is None
    )


def _normalises_outputs(layer, source, graph):
    """Whether the axis of `layer` is that of the neurons of `source`."""
    (tensor,) = graph.inputs(layer)
    data_format = getattr(source, "data_format", "channels_last")
    last = layer.axis in (-1, len(tensor.shape) - 1)
    return last and data_format == "channels_last"


def _keeps_zero(layer, count):
    """Whether the activation of `layer` is 0 where its kernel and bias are."""
    activation = getattr(layer, "activation", None)
    zeros = keras.ops.zeros((1, count))
    return activation is None or not np.any(activation(zeros))


def _followed(layers, graph, normalising):
    """The layers that normalisations rescale, those whose masks they undo.

    Layers that a subclassed model calls are in no graph: its normalisations
    stand for the neurons of all its other layers.
    """
    rescaled, undone = [], []
    for layer in layers.values():
        masked = isinstance(normalising.get(id(layer)), Neurons)
        if not (masked or _lacks_scale(layer)):
            continue
        followed = rescaled if masked else undone
        if not graph.inputs(layer):
            followed.extend(x for x in layers.values() if not graph.inputs(x))
        for tensor in graph.inputs(layer):
            sources = _leaves(graph.weighted_sources(tensor))
            # A sum or concatenation weighs masked layers against each other.
            if masked or len(sources) == 1:
                followed.extend(sources)
    return rescaled, undone


def _head(classifier, layers, graph):
    """The layers that give the class scores."""
    if getattr(classifier, "outputs", None):
        return _leaves(
            source
            for tensor in classifier.outputs
            for source in graph.weighted_sources(tensor)
        )
    return _last_kernel(layers.values())


def _leaves(sources):
    """The sources; for one made of other layers, its last with a kernel."""
    return [
        leaf
        for source in sources
        for leaf in (
            _last_kernel(structure.named_layers(source).values()) or [source]
        )
    ]


def _last_kernel(layers):
    return [x for x in layers if isinstance(_of_kernel("", x), Neurons)][-1:]
