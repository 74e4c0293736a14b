"""How many images go through a classifier at once."""

import math
from collections.abc import Iterator

import keras

from tfbackdoor.network import graph as symbolic
from tfbackdoor.network import layer_shapes
from tfbackdoor.network import remembering
from tfbackdoor.network import structure

LIMIT = 2**30  # Bytes.
MOST = 256
_BYTES_A_NUMBER = 4  # As float32; less precision takes less.


def batch_size_for(
    classifier: keras.Model,
    limit_bytes: int = LIMIT,
    *,
    most: int = MOST,
    training: bool = False,
) -> int:
    """Images whose activations fit in some memory: 1 to `most`.

    Args:
        classifier: built Keras classifier of any kind.
        limit_bytes: int > 0, what the activations may take (1 GiB).
        most: int > 0, images that are never exceeded (256).
        training: bool, whether gradients are taken, which take as much again.
    """
    needed = bytes_per_image(classifier) * (2 if training else 1)
    return max(1, min(most, limit_bytes // needed))


def equal_groups(count: int, most: int) -> Iterator[slice]:
    """Slices of at most `most` that cover `count` places, all of one length.

    The last overlaps the one before it: a function is traced once for all.
    """
    size = min(count, most)
    for first in range(0, count, size):
        start = min(first, count - size)
        yield slice(start, start + size)


@remembering.once_a_model
def bytes_per_image(classifier: keras.Model) -> int:
    """Bytes of all that one image becomes in a classifier's layers."""
    if _is_graph(classifier):
        shapes = structure.computed_shapes(classifier)
    else:
        recorded = layer_shapes.layer_shapes(classifier).values()
        shapes = [shapes.output for shapes in recorded]
    return max(1, _BYTES_A_NUMBER * sum(map(math.prod, shapes)))


def _is_graph(classifier):
    """Whether every layer, at any depth, is in the classifier's graph."""
    graph = symbolic.SymbolicGraph.of(classifier)
    return all(
        graph.inputs(layer) or isinstance(layer, keras.layers.InputLayer)
        for layer in structure.named_layers(classifier).values()
    )
