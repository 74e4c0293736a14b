"""Wide residual networks (Zagoruyko & Komodakis, 2016), as NAD uses them."""

import keras

from tfbackdoor.models import blocks

_GROUPS = (16, 32, 64)
_DEPTHS = (10, 16, 40)


def wide_resnet(
    image_shape: tuple[int, int, int],
    classes: int,
    *,
    depth: int = 16,
    width: int = 1,
) -> keras.Model:
    """WRN-depth-width with pre-activation blocks.

    Layers are named as in PyTorch implementations, with `_` for `.`, so that
    `load_pytorch_weights` can fill them. The three groups of blocks end in
    the layers `group1`, `group2` and `group3`: the attention taps of NAD.

    Args:
        image_shape: `(height, width, channels)`.
        classes: int >= 2.
        depth: 10, 16 (the papers' network) or 40.
        width: int >= 1, factor on the 16, 32 and 64 channels.

    Returns:
        Functional model from images in [0, 1] to logits `(batch, classes)`.
    """
    if depth not in _DEPTHS:
        raise ValueError(
            f"`depth` must be one of {_DEPTHS}. Received: depth={depth}"
        )
    if width < 1:
        raise ValueError(f"`width` must be >= 1. Received: width={width}")
    blocks_per_group = (depth - 4) // 6
    inputs = keras.Input(image_shape, name="images")
    x = blocks.convolution(inputs, 16, 3, 1, name="conv1")
    for group, channels in enumerate(_GROUPS, start=1):
        for block in range(blocks_per_group):
            is_last = block == blocks_per_group - 1
            x = _block(
                x,
                channels * width,
                stride=2 if group > 1 and block == 0 else 1,
                prefix=f"block{group}_layer_{block}",
                name=f"group{group}" if is_last else None,
            )
    x = keras.layers.ReLU(name="relu")(blocks.normalisation(x, name="bn1"))
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    logits = keras.layers.Dense(classes, name="fc")(x)
    return keras.Model(inputs, logits, name=f"wrn_{depth}_{width}")


def _block(x, filters, stride, *, prefix, name):
    activated = keras.layers.ReLU(name=f"{prefix}_relu1")(
        blocks.normalisation(x, name=f"{prefix}_bn1")
    )
    shortcut = x
    if x.shape[-1] != filters:
        shortcut = blocks.convolution(
            activated, filters, 1, stride, name=f"{prefix}_convShortcut"
        )
    x = blocks.convolution(
        activated, filters, 3, stride, name=f"{prefix}_conv1"
    )
    x = keras.layers.ReLU(name=f"{prefix}_relu2")(
        blocks.normalisation(x, name=f"{prefix}_bn2")
    )
    x = blocks.convolution(x, filters, 3, 1, name=f"{prefix}_conv2")
    return keras.layers.Add(name=name or f"{prefix}_add")([x, shortcut])
