"""What the networks have in common."""

import keras

_SMALL = 64


def is_large(image_shape: tuple[int, int, int]) -> bool:
    """Whether images are above 64 pixels, which networks first halve twice."""
    return max(image_shape[:2]) > _SMALL


def scaled(channels: tuple[int, ...], width: float) -> list[int]:
    """Channels times `width`, at least one each.

    Raises:
        ValueError: unless `width` is positive.
    """
    if width <= 0.0:
        raise ValueError(f"`width` must be > 0. Received: width={width}")
    return [max(1, round(width * count)) for count in channels]


def convolution(
    x, filters: int, size: int, stride: int, *, name: str, use_bias=False
):
    """Convolution, padded equally on both sides as in PyTorch."""
    padding = "same"
    if stride > 1 and size > 1:
        x = keras.layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
        padding = "valid"
    return keras.layers.Conv2D(
        filters,
        size,
        stride,
        padding,
        use_bias=use_bias,
        kernel_initializer="he_normal",
        name=name,
    )(x)


def depthwise_convolution(x, size: int, stride: int, *, name: str):
    """Depthwise convolution without bias, padded equally on both sides."""
    padding = "same"
    if stride > 1:
        x = keras.layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
        padding = "valid"
    return keras.layers.DepthwiseConv2D(
        size,
        stride,
        padding,
        use_bias=False,
        depthwise_initializer="he_normal",
        name=name,
    )(x)


def normalisation(x, *, name: str):
    """Batch normalisation with PyTorch's momentum and epsilon."""
    return keras.layers.BatchNormalization(
        momentum=0.9, epsilon=1e-5, name=name
    )(x)


def max_pool(x, *, name: str):
    """Halves a map that is nowhere negative: 3x3 maxima, stride 2, padded."""
    x = keras.layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
    return keras.layers.MaxPooling2D(3, 2, name=name)(x)
