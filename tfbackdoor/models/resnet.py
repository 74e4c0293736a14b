"""ResNet-18 for CIFAR-sized images (He et al., 2016), as ANP uses it."""

import keras

from tfbackdoor.models import blocks

_GROUPS = (64, 128, 256, 512)
_BLOCKS_PER_GROUP = 2


def resnet18(
    image_shape: tuple[int, int, int],
    classes: int,
    *,
    width: float = 1.0,
) -> keras.Model:
    """ResNet-18 with a 3x3 stem and no initial pooling.

    Layers are named as in PyTorch implementations, with `_` for `.`, so that
    `load_pytorch_weights` can fill them. The four groups of blocks end in the
    layers `layer1` to `layer4`.

    Args:
        image_shape: `(height, width, channels)`.
        classes: int >= 2.
        width: float > 0, factor on the 64 to 512 channels of the paper.

    Returns:
        Functional model from images in [0, 1] to logits `(batch, classes)`.
    """
    if width <= 0.0:
        raise ValueError(f"`width` must be > 0. Received: width={width}")
    inputs = keras.Input(image_shape, name="images")
    channels = [max(1, round(width * group)) for group in _GROUPS]
    x = blocks.convolution(inputs, channels[0], 3, 1, name="conv1")
    x = keras.layers.ReLU(name="relu")(blocks.normalisation(x, name="bn1"))
    for group, filters in enumerate(channels, start=1):
        for block in range(_BLOCKS_PER_GROUP):
            stride = 2 if group > 1 and block == 0 else 1
            is_last = block == _BLOCKS_PER_GROUP - 1
            x = _block(
                x,
                filters,
                stride,
                prefix=f"layer{group}_{block}",
                name=f"layer{group}" if is_last else None,
            )
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    logits = keras.layers.Dense(classes, name="linear")(x)
    return keras.Model(inputs, logits, name="resnet18")


def _block(x, filters, stride, *, prefix, name):
    shortcut = x
    if stride != 1 or x.shape[-1] != filters:
        shortcut = blocks.convolution(
            x, filters, 1, stride, name=f"{prefix}_shortcut_0"
        )
        shortcut = blocks.normalisation(shortcut, name=f"{prefix}_shortcut_1")
    x = blocks.convolution(x, filters, 3, stride, name=f"{prefix}_conv1")
    x = keras.layers.ReLU(name=f"{prefix}_relu")(
        blocks.normalisation(x, name=f"{prefix}_bn1")
    )
    x = blocks.convolution(x, filters, 3, 1, name=f"{prefix}_conv2")
    x = blocks.normalisation(x, name=f"{prefix}_bn2")
    x = keras.layers.Add(name=f"{prefix}_add")([x, shortcut])
    return keras.layers.ReLU(name=name or f"{prefix}_out")(x)
