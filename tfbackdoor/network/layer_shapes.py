"""What shape the layers of any classifier give, at any depth."""

import keras

from tfbackdoor.network import classifiers
from tfbackdoor.network import structure


def layer_shapes(classifier: keras.Model) -> dict[str, tuple[int, ...]]:
    """The shape, without the batch, of what each layer makes of an image.

    In the order in which the layers compute. A layer that is called several
    times has the shape of its last output; one that gives no single tensor
    has none.

    Args:
        classifier: built classifier of any kind; runs once, on one image.
    """
    layers = {
        name: layer
        for name, layer in structure.named_layers(classifier).items()
        if not isinstance(layer, keras.layers.InputLayer)
    }
    recorder = structure.OutputRecorder(layers)
    image = keras.ops.zeros((1, *classifiers.image_shape(classifier)))
    with recorder.recording() as outputs:
        classifier(image, training=False)
    return {
        name: tuple(output.shape[1:])
        for name, output in outputs.items()
        if keras.ops.is_tensor(output)
    }
