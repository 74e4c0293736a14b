"""MobileNetV2 (Sandler et al., 2018).

For images up to 64 pixels it is the PyTorch network for CIFAR, with its layer
names: two strides fewer, ReLU, an expansion in the first block too, and a
projection wherever a block of stride 1 changes the channels. For larger images
it is the paper's network, with the layer names of torchvision.
"""

import keras

from tfbackdoor.models import blocks

# Of each group: expansion, channels, blocks, stride (table 2 of the paper).
_GROUPS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_STEM, _LAST = 32, 1280
_KEPT_FOR_SMALL = 1  # The group that does not stride on small images.


def mobilenet_v2(
    image_shape: tuple[int, int, int],
    classes: int,
    *,
    width: float = 1.0,
) -> keras.Model:
    """MobileNetV2.

    Layers are named as in PyTorch implementations, with `_` for `.`, so that
    `load_pytorch_weights` can fill them. The paper's dropout before the last
    layer is left out.

    Args:
        image_shape: `(height, width, channels)`; above 64 pixels the paper's
            network, else the one for CIFAR.
        classes: int >= 2.
        width: float > 0, factor on the channels.

    Returns:
        Functional model from images in [0, 1] to logits `(batch, classes)`.
    """
    large = blocks.is_large(image_shape)
    stem, last = blocks.scaled((_STEM, _LAST), width)
    channels = blocks.scaled(tuple(group[1] for group in _GROUPS), width)
    inputs = keras.Input(image_shape, name="images")
    if large:
        x = _unit(inputs, stem, 3, 2, "features_0_0", "features_0_1", 6.0)
    else:
        x = _unit(inputs, stem, 3, 1, "conv1", "bn1")
    block = _paper_block if large else _small_block
    number = 0
    for group, (expansion, _, count, stride) in enumerate(_GROUPS):
        for position in range(count):
            strides = position == 0 and (large or group != _KEPT_FOR_SMALL)
            x = block(
                x,
                expansion * x.shape[-1],
                channels[group],
                stride if strides else 1,
                number,
            )
            number += 1
    if large:
        x = _unit(x, last, 1, 1, "features_18_0", "features_18_1", 6.0)
    else:
        x = _unit(x, last, 1, 1, "conv2", "bn2")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    head = "classifier_1" if large else "linear"
    logits = keras.layers.Dense(classes, name=head)(x)
    return keras.Model(inputs, logits, name="mobilenet_v2")


def _unit(x, filters, size, stride, conv, bn, ceiling=None):
    """Convolution, normalisation and ReLU, or ReLU6 with a ceiling of 6."""
    x = blocks.convolution(x, filters, size, stride, name=conv)
    return _activated(x, bn, ceiling)


def _activated(x, bn, ceiling):
    x = blocks.normalisation(x, name=bn)
    return keras.layers.ReLU(max_value=ceiling, name=f"{bn}_relu")(x)


def _small_block(x, hidden, filters, stride, number):
    prefix = f"layers_{number}"
    by = x
    x = _unit(x, hidden, 1, 1, f"{prefix}_conv1", f"{prefix}_bn1")
    x = blocks.depthwise_convolution(x, 3, stride, name=f"{prefix}_conv2")
    x = _activated(x, f"{prefix}_bn2", None)
    x = blocks.convolution(x, filters, 1, 1, name=f"{prefix}_conv3")
    x = blocks.normalisation(x, name=f"{prefix}_bn3")
    if stride != 1:
        return x
    if by.shape[-1] != filters:
        by = blocks.convolution(by, filters, 1, 1, name=f"{prefix}_shortcut_0")
        by = blocks.normalisation(by, name=f"{prefix}_shortcut_1")
    return keras.layers.Add(name=f"{prefix}_add")([x, by])


def _paper_block(x, hidden, filters, stride, number):
    prefix = f"features_{number + 1}_conv"
    by, part = x, 0
    if hidden != x.shape[-1]:
        x = _unit(x, hidden, 1, 1, f"{prefix}_0_0", f"{prefix}_0_1", 6.0)
        part = 1
    x = blocks.depthwise_convolution(x, 3, stride, name=f"{prefix}_{part}_0")
    x = _activated(x, f"{prefix}_{part}_1", 6.0)
    x = blocks.convolution(x, filters, 1, 1, name=f"{prefix}_{part + 1}")
    x = blocks.normalisation(x, name=f"{prefix}_{part + 2}")
    if stride == 1 and by.shape[-1] == filters:
        return keras.layers.Add(name=f"{prefix}_add")([x, by])
    return x
