"""What the residual networks have in common."""

import keras


def convolution(x, filters: int, size: int, stride: int, *, name: str):
    """Convolution without bias, padded equally on both sides as in PyTorch."""
    padding = "same"
    if stride > 1 and size > 1:
        x = keras.layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
        padding = "valid"
    return keras.layers.Conv2D(
        filters,
        size,
        stride,
        padding,
        use_bias=False,
        kernel_initializer="he_normal",
        name=name,
    )(x)


def normalisation(x, *, name: str):
    """Batch normalisation with PyTorch's momentum and epsilon."""
    return keras.layers.BatchNormalization(
        momentum=0.9, epsilon=1e-5, name=name
    )(x)
