"""Residual networks (He et al., 2016), as ANP uses them.

For images up to 64 pixels they have a 3x3 stem, no initial pooling and the
layer names of the PyTorch networks for CIFAR (`shortcut`, `linear`); for larger
ones the paper's 7x7 stem of stride 2 and max-pooling, and the layer names of
torchvision (`downsample`, `fc`). In bottlenecks the 3x3 convolution strides, as
in both.
"""

import keras

from tfbackdoor.models import blocks

_GROUPS = (64, 128, 256, 512)
_EXPANSION = 4


def resnet18(
    image_shape: tuple[int, int, int],
    classes: int,
    *,
    width: float = 1.0,
) -> keras.Model:
    """ResNet-18.

    Layers are named as in PyTorch implementations, with `_` for `.`, so that
    `load_pytorch_weights` can fill them. The four groups of blocks end in the
    layers `layer1` to `layer4`.

    Args:
        image_shape: `(height, width, channels)`; above 64 pixels the network
            has the stem of He et al., else a 3x3 one.
        classes: int >= 2.
        width: float > 0, factor on the 64 to 512 channels of the paper.

    Returns:
        Functional model from images in [0, 1] to logits `(batch, classes)`.
    """
    return _resnet(
        "resnet18", _basic, (2, 2, 2, 2), image_shape, classes, width
    )


def resnet34(
    image_shape: tuple[int, int, int],
    classes: int,
    *,
    width: float = 1.0,
) -> keras.Model:
    """ResNet-34; see `resnet18`."""
    return _resnet(
        "resnet34", _basic, (3, 4, 6, 3), image_shape, classes, width
    )


def resnet50(
    image_shape: tuple[int, int, int],
    classes: int,
    *,
    width: float = 1.0,
) -> keras.Model:
    """ResNet-50, of bottlenecks with 256 to 2,048 channels; see `resnet18`."""
    return _resnet(
        "resnet50", _bottleneck, (3, 4, 6, 3), image_shape, classes, width
    )


def resnet101(
    image_shape: tuple[int, int, int],
    classes: int,
    *,
    width: float = 1.0,
) -> keras.Model:
    """ResNet-101; see `resnet50`."""
    return _resnet(
        "resnet101", _bottleneck, (3, 4, 23, 3), image_shape, classes, width
    )


def resnet152(
    image_shape: tuple[int, int, int],
    classes: int,
    *,
    width: float = 1.0,
) -> keras.Model:
    """ResNet-152; see `resnet50`."""
    return _resnet(
        "resnet152", _bottleneck, (3, 8, 36, 3), image_shape, classes, width
    )


def preact_resnet18(
    image_shape: tuple[int, int, int],
    classes: int,
    *,
    width: float = 1.0,
) -> keras.Model:
    """PreAct-ResNet-18 (He et al., Identity Mappings, ECCV 2016).

    As in the PyTorch network for CIFAR that backdoor benchmarks use: there is
    no normalisation before the first block or after the last one.

    Args and returns: those of `resnet18`.
    """
    return _resnet(
        "preact_resnet18", _preactivated, (2,) * 4, image_shape, classes, width
    )


def _resnet(name, block, counts, image_shape, classes, width):
    channels = blocks.scaled(_GROUPS, width)
    large = blocks.is_large(image_shape)
    preactivated = block is _preactivated
    inputs = keras.Input(image_shape, name="images")
    size, stride = (7, 2) if large else (3, 1)
    x = blocks.convolution(inputs, channels[0], size, stride, name="conv1")
    if not preactivated:
        x = keras.layers.ReLU(name="relu")(blocks.normalisation(x, name="bn1"))
    if large:
        x = _max_pool(x, preactivated)
    shortcut = "downsample" if large and not preactivated else "shortcut"
    for group, (filters, count) in enumerate(zip(channels, counts), start=1):
        for position in range(count):
            x = block(
                x,
                filters,
                stride=2 if group > 1 and position == 0 else 1,
                prefix=f"layer{group}_{position}",
                shortcut=shortcut,
                name=f"layer{group}" if position == count - 1 else None,
            )
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    head = "linear" if shortcut == "shortcut" else "fc"
    logits = keras.layers.Dense(classes, name=head)(x)
    return keras.Model(inputs, logits, name=name)


def _max_pool(x, preactivated):
    if preactivated:  # Negative values must not lose to a padding of zeros.
        return keras.layers.MaxPooling2D(3, 2, "same", name="maxpool")(x)
    return blocks.max_pool(x, name="maxpool")


def _basic(x, filters, *, stride, prefix, shortcut, name):
    by = _projection(x, filters, stride, f"{prefix}_{shortcut}")
    x = blocks.convolution(x, filters, 3, stride, name=f"{prefix}_conv1")
    x = keras.layers.ReLU(name=f"{prefix}_relu")(
        blocks.normalisation(x, name=f"{prefix}_bn1")
    )
    x = blocks.convolution(x, filters, 3, 1, name=f"{prefix}_conv2")
    x = blocks.normalisation(x, name=f"{prefix}_bn2")
    x = keras.layers.Add(name=f"{prefix}_add")([x, by])
    return keras.layers.ReLU(name=name or f"{prefix}_out")(x)


def _bottleneck(x, filters, *, stride, prefix, shortcut, name):
    out = _EXPANSION * filters
    by = _projection(x, out, stride, f"{prefix}_{shortcut}")
    x = _conv_bn_relu(x, filters, 1, 1, prefix, 1)
    x = _conv_bn_relu(x, filters, 3, stride, prefix, 2)
    x = blocks.convolution(x, out, 1, 1, name=f"{prefix}_conv3")
    x = blocks.normalisation(x, name=f"{prefix}_bn3")
    x = keras.layers.Add(name=f"{prefix}_add")([x, by])
    return keras.layers.ReLU(name=name or f"{prefix}_out")(x)


def _preactivated(x, filters, *, stride, prefix, shortcut, name):
    by = x
    x = keras.layers.ReLU(name=f"{prefix}_relu1")(
        blocks.normalisation(x, name=f"{prefix}_bn1")
    )
    if stride != 1 or by.shape[-1] != filters:
        by = blocks.convolution(
            x, filters, 1, stride, name=f"{prefix}_{shortcut}_0"
        )
    x = blocks.convolution(x, filters, 3, stride, name=f"{prefix}_conv1")
    x = keras.layers.ReLU(name=f"{prefix}_relu2")(
        blocks.normalisation(x, name=f"{prefix}_bn2")
    )
    x = blocks.convolution(x, filters, 3, 1, name=f"{prefix}_conv2")
    return keras.layers.Add(name=name or f"{prefix}_add")([x, by])


def _projection(x, filters, stride, prefix):
    """What is added to a block: its input, projected where shapes differ."""
    if stride == 1 and x.shape[-1] == filters:
        return x
    x = blocks.convolution(x, filters, 1, stride, name=f"{prefix}_0")
    return blocks.normalisation(x, name=f"{prefix}_1")


def _conv_bn_relu(x, filters, size, stride, prefix, number):
    x = blocks.convolution(
        x, filters, size, stride, name=f"{prefix}_conv{number}"
    )
    x = blocks.normalisation(x, name=f"{prefix}_bn{number}")
    return keras.layers.ReLU(name=f"{prefix}_relu{number}")(x)
