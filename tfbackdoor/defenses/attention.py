"""Attention maps, the loss between them, and where to take them."""

import math
from collections.abc import Sequence

import keras
import numpy as np

from tfbackdoor.network import feature_shapes
from tfbackdoor.network import graph
from tfbackdoor.network import structure

# Keeps the norm of an all-zero map from dividing by zero (authors' code).
_NORM_FLOOR = 1e-6
# Largest relative spread over positions of a map that counts as constant.
_CONSTANT_SPREAD = 1e-4
# Layers that only change the frame of a feature map.
_FRAMES = (keras.layers.ZeroPadding2D, keras.layers.Cropping2D)


def attention_map(features, *, power: float = 2.0):
    """`A(F) = sum over channels of |F|^p` (Li et al. 2021, eq. 1).

    Args:
        features: tensor `(batch, height, width, channels)`, or of tokens
            `(batch, tokens, channels)`.
        power: float > 0, p (2 in the paper).

    Returns:
        Tensor `(batch, height, width)` or `(batch, tokens)`, at least
        float32.
    """
    features = _at_least_float32(features)
    return keras.ops.sum(keras.ops.power(keras.ops.abs(features), power), -1)


def normalised_attention(features, *, power: float = 2.0):
    """The attention map over its L2 norm: `(batch, positions)`."""
    attention = attention_map(features, power=power)
    positions = math.prod(attention.shape[1:])
    attention = keras.ops.reshape(attention, (-1, positions))
    norm = keras.ops.norm(attention, axis=-1, keepdims=True)
    return attention / (norm + _NORM_FLOOR)


@keras.saving.register_keras_serializable("tfbackdoor")
class AttentionTransfer(keras.losses.Loss):
    """Distance between a teacher's and a student's attention maps.

    `mean over positions of (A(F_s) / ||A(F_s)||_2 - A(F_t) / ||A(F_t)||_2)^2`
    (Li et al. 2021, eq. 2; the authors' code averages over positions where
    the paper sums). One value an image.

    Args:
        power: float > 0, p of the attention map (2 in the paper).

    Call arguments:
        y_true: the teacher's features `(batch, height, width, channels)` or
            `(batch, tokens, channels)`.
        y_pred: the student's features; channels may differ in number.
    """

    def __init__(
        self, *, power: float = 2.0, name: str = "attention_transfer", **kwargs
    ):
        super().__init__(name=name, **kwargs)
        if power <= 0.0:
            raise ValueError(f"`power` must be > 0. Received: power={power}")
        self.power = power

    def call(self, y_true, y_pred):
        teacher = normalised_attention(y_true, power=self.power)
        student = normalised_attention(y_pred, power=self.power)
        return keras.ops.mean(keras.ops.square(student - teacher), axis=-1)

    def get_config(self):
        return {**super().get_config(), "power": self.power}


def find_taps(classifier: keras.Model, count: int = 3) -> list[str]:
    """Where NAD compares attention: one layer per resolution.

    The last sum of a residual branch (`keras.layers.Add`), as the paper takes
    the outputs of a wide ResNet's three groups, before the next batch norm.
    Where a resolution has no sum, its last feature map. A vision transformer
    has attention over its tokens `(batch, tokens, channels)`, whose number is
    a resolution; a class token is a position like any other.

    Args:
        classifier: built classifier of any kind.
        count: int > 0, how many taps at most (3 in the paper).

    Returns:
        Layer names of the smallest resolutions, from high to low.

    Raises:
        ValueError: where no layer gives a feature map larger than 1x1, or
            several tokens.
    """
    maps = _maps_by_resolution(classifier)
    if not maps:
        raise ValueError(
            "`classifier` must hold a layer with an output (batch, height, "
            "width, channels) larger than 1x1, or (batch, tokens, channels). "
            f"Received: {classifier.name} without any."
        )
    layers = structure.named_layers(classifier)
    taps = []
    for names in maps[-count:]:
        sums = [n for n in names if isinstance(layers[n], keras.layers.Add)]
        taps.append((sums or names)[-1])
    return taps


def last_feature_maps(classifier: keras.Model, count: int = 3) -> list[str]:
    """The last feature map of each of the smallest resolutions.

    Args:
        classifier: built classifier of any kind.
        count: int > 0, how many at most.

    Returns:
        Layer names, from high to low resolution; none where there is none.
    """
    return [names[-1] for names in _maps_by_resolution(classifier)[-count:]]


def _maps_by_resolution(classifier):
    """Names of feature maps, a list per resolution, from high to low."""
    layers = structure.named_layers(classifier)
    names = {}
    for name, shape in feature_shapes.feature_shapes(classifier).items():
        if not isinstance(layers[name], _FRAMES):
            count = feature_shapes.positions(shape)
            names.setdefault(count, []).append(name)
    return [names[count] for count in sorted(names, reverse=True)]


def attention_maps(
    classifier: keras.Model, images, taps: Sequence[str], *, power: float = 2.0
) -> dict[str, np.ndarray]:
    """The attention maps of the first image at each tap, to look at.

    Tokens are laid out in rows as they were cut from the image, without the
    class token; as one row where their number does not tell how.

    Args:
        classifier: built classifier of any kind.
        images: `(batch, height, width, channels)`, float32 in [0, 1].
        taps: layer names, see `find_taps`.
        power: float > 0, p of the attention maps.

    Returns:
        From tap to float array `(height, width)`.
    """
    image = images[:1]
    recorder = structure.OutputRecorder.of_names(classifier, taps)
    with recorder.recording() as outputs:
        graph.call(classifier, image)
    maps = {
        tap: keras.ops.convert_to_numpy(
            attention_map(outputs[tap], power=power)
        )[0]
        for tap in taps
    }
    aspect = image.shape[1] / image.shape[2]
    return {tap: _in_rows(found, aspect) for tap, found in maps.items()}


def _in_rows(attention, aspect):
    """Attention over tokens as over an image of that height over width."""
    if attention.ndim == 2:
        return attention
    for patches in (attention, attention[1:]):  # A class token comes first.
        rows = max(1, round(math.sqrt(len(patches) * aspect)))
        columns = round(rows / aspect)
        if rows * columns == len(patches):
            return patches.reshape(rows, columns)
    return attention[None]


def check_taps(classifier: keras.Model, taps: list[str]) -> None:
    """Raises ValueError, with the valid names, unless all taps exist."""
    shapes = feature_shapes.feature_shapes(classifier)
    unknown = [name for name in taps if name not in shapes]
    if unknown or not taps:
        raise ValueError(
            f"`taps` must be layers with feature maps larger than 1x1, or "
            f"tokens: {list(shapes)}. Received: {unknown or taps}"
        )


def check_not_constant(name: str, features) -> None:
    """Raises ValueError where the attention is the same at all positions.

    Args:
        name: str, the tap, for the message.
        features: tensor `(batch, height, width, channels)` or `(batch,
            tokens, channels)`.
    """
    attention = keras.ops.convert_to_numpy(attention_map(features))
    attention = attention.reshape(len(attention), -1)
    spread = np.ptp(attention, axis=1)
    if np.all(spread <= _CONSTANT_SPREAD * np.abs(attention).max(axis=1)):
        raise ValueError(
            "`taps` must have attention that differs between positions, or "
            f"distillation is plain fine-tuning. Received: {name!r}, whose "
            "attention is constant over the image."
        )


def _at_least_float32(tensor):
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    return tensor if dtype == "float64" else keras.ops.cast(tensor, "float32")
