"""What shapes the layers of any classifier take and give, at any depth."""

from typing import NamedTuple

import keras

from tfbackdoor.network import facts
from tfbackdoor.network import graph
from tfbackdoor.network import structure


class Shapes(NamedTuple):
    """The shapes of a layer, without the batch.

    Args:
        inputs: of each tensor in its first argument.
        output: of what it gives.
    """

    inputs: list[tuple[int, ...]]
    output: tuple[int, ...]


def layer_shapes(classifier: keras.Model) -> dict[str, Shapes]:
    """The shapes of each layer for one image, by `named_layers`.

    In the order in which the layers compute. A layer that is called several
    times has the shapes of its last call; one that gives no single tensor is
    left out.

    Args:
        classifier: built classifier of any kind; runs once, on one image.
    """
    layers = {
        name: layer
        for name, layer in structure.named_layers(classifier).items()
        if not isinstance(layer, keras.layers.InputLayer)
    }
    recorder = _ShapeRecorder(layers)
    image = keras.ops.zeros((1, *facts.facts_of(classifier).image_shape))
    with recorder.recording() as recorded:
        graph.call(classifier, image)
    return {name: shapes for name, shapes in recorded.items() if shapes}


class _ShapeRecorder(structure.OutputRecorder):
    def _kept(self, output, *inputs):
        if not keras.ops.is_tensor(output):
            return None
        tensors = keras.tree.flatten(inputs[:1])
        return Shapes(
            [tuple(x.shape[1:]) for x in tensors if keras.ops.is_tensor(x)],
            tuple(output.shape[1:]),
        )
