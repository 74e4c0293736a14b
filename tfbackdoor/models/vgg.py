"""VGG-19 with batch normalisation (Simonyan & Zisserman, 2015)."""

import keras

from tfbackdoor.models import blocks

_CHANNELS = (64, 128, 256, 512, 512)
_CONVOLUTIONS = (2, 2, 4, 4, 4)


def vgg19(
    image_shape: tuple[int, int, int],
    classes: int,
    *,
    width: float = 1.0,
) -> keras.Model:
    """VGG-19 with batch normalisation and one linear layer.

    The PyTorch network for CIFAR, whose layer names it has, with `_` for `.`:
    what the five stages leave is averaged over positions (for images of 32
    pixels there is one) and meets a single layer in place of the paper's
    three. Each stage ends in a pool, `pool1` to `pool5`, left out where one
    pixel is left.

    Args:
        image_shape: `(height, width, channels)` of any size.
        classes: int >= 2.
        width: float > 0, factor on the 64 to 512 channels of the paper.

    Returns:
        Functional model from images in [0, 1] to logits `(batch, classes)`.
    """
    x = inputs = keras.Input(image_shape, name="images")
    number = 0  # Of the modules before it in PyTorch's sequence.
    stages = zip(blocks.scaled(_CHANNELS, width), _CONVOLUTIONS)
    for stage, (filters, count) in enumerate(stages, start=1):
        for _ in range(count):
            x = blocks.convolution(
                x, filters, 3, 1, name=f"features_{number}", use_bias=True
            )
            x = blocks.normalisation(x, name=f"features_{number + 1}")
            x = keras.layers.ReLU(name=f"features_{number + 2}")(x)
            number += 3
        number += 1
        if min(x.shape[1:3]) > 1:
            x = keras.layers.MaxPooling2D(2, name=f"pool{stage}")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    logits = keras.layers.Dense(classes, name="classifier")(x)
    return keras.Model(inputs, logits, name="vgg19")
