"""Which layers of a classifier give features of positions in the image."""

import math

import keras

from tfbackdoor.network import layer_shapes
from tfbackdoor.network import structure

# Layers whose input has a height and a width, whatever else they are.
_SPATIAL = (
    keras.layers.Conv2D,
    keras.layers.Conv2DTranspose,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
    keras.layers.AveragePooling2D,
    keras.layers.MaxPooling2D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.SpatialDropout2D,
    keras.layers.UpSampling2D,
    keras.layers.ZeroPadding2D,
    keras.layers.Cropping2D,
)
# Layers whose output holds no features of what its first axes count.
_NO_FEATURES = (keras.layers.Softmax, keras.layers.Permute)


def feature_shapes(classifier: keras.Model) -> dict[str, tuple[int, ...]]:
    """The shapes of all feature maps and tokens that a classifier computes.

    `(height, width, channels)` or, as in a vision transformer, `(tokens,
    channels)`; a class token is a token like any other. Left out is what has
    a single position, whose attention is the same for every image once
    normalised, and what only looks like a map, such as the `(tokens, heads,
    channels)` within an attention layer.

    Args:
        classifier: built classifier of any kind; runs once, on one image.

    Returns:
        From layer name to shape, in the order in which the layers compute.
    """
    layers = structure.named_layers(classifier)
    shapes = {
        name: found
        for name, found in layer_shapes.layer_shapes(classifier).items()
        if not isinstance(layers[name], _NO_FEATURES)
    }
    maps = _heights_and_widths(layers, shapes)
    return {
        name: found.output
        for name, found in shapes.items()
        if positions(found.output) > 1
        and (len(found.output) == 2 or _is_map(layers[name], found, maps))
    }


def positions(shape: tuple[int, ...]) -> int:
    """How many positions a feature map or sequence of tokens has."""
    return math.prod(shape[:-1])


def _heights_and_widths(layers, shapes):
    """Those that feature maps are known to have."""
    found = set()
    for name, around in shapes.items():
        if isinstance(layers[name], _SPATIAL):
            found.update(shape[:2] for shape in (*around.inputs, around.output))
        elif _folds_tokens(layers[name], around):
            found.add(around.output[:2])
    return found


def _is_map(layer, shapes, heights_and_widths):
    """Whether a layer gives (height, width, channels)."""
    if len(shapes.output) != 3:
        return False
    if isinstance(layer, _SPATIAL) or _folds_tokens(layer, shapes):
        return True
    from_map = any(len(shape) == 3 for shape in shapes.inputs)
    return from_map and shapes.output[:2] in heights_and_widths


def _folds_tokens(layer, shapes):
    """Whether a layer lays (tokens, channels) out in rows and columns."""
    return (
        isinstance(layer, keras.layers.Reshape)
        and len(shapes.output) == 3
        and shapes.inputs == [(positions(shapes.output), shapes.output[-1])]
    )
