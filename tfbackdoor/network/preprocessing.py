"""What owners do to pixels in [0, 1] before their classifier sees them."""

import functools
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor.network import facts
from tfbackdoor.network import structure

_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CIFAR = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
# What many implementations took for CIFAR-10's deviations, ANP's among them.
_CIFAR_OF_BATCHES = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
_MNIST = (0.1307,), (0.3081,)
_CAFFE_BGR = (103.939, 116.779, 123.68)
_OF_KERAS = ("keras.applications.", "keras.src.applications.")
# A rescaling by so little makes small numbers of pixels up to 255.
_LARGEST_DIVISION = 0.01
UNIT = "[0, 1]"


def _affine(scale, offset):
    def rescale(images):
        return keras.layers.Rescaling(scale, offset)(images)

    return rescale


def _normalise(mean, deviation):
    return _affine(
        [1.0 / d for d in deviation],
        [-m / d for m, d in zip(mean, deviation)],
    )


def _caffe(images):
    images = keras.ops.flip(images, axis=-1)
    return _affine([255.0] * 3, [-mean for mean in _CAFFE_BGR])(images)


def _standardise(images):
    """As `tf.image.per_image_standardization`."""
    mean = keras.ops.mean(images, axis=(1, 2, 3), keepdims=True)
    deviation = keras.ops.std(images, axis=(1, 2, 3), keepdims=True)
    height, width, channels = images.shape[1:]
    least = (height * width * channels) ** -0.5
    return (images - mean) / keras.ops.maximum(deviation, least)


# From name to a function of images in [0, 1], and for how many channels.
RANGES = {
    UNIT: (lambda images: images, None),
    "[0, 255]": (_affine(255.0, 0.0), None),
    "[-1, 1]": (_affine(2.0, -1.0), None),
    "ImageNet mean/std": (_normalise(*_IMAGENET), 3),
    "CIFAR mean/std": (_normalise(*_CIFAR), 3),
    "CIFAR mean/std (0.2023, 0.1994, 0.2010)": (
        _normalise(*_CIFAR_OF_BATCHES),
        3,
    ),
    "caffe BGR": (_caffe, 3),
    "MNIST mean/std": (_normalise(*_MNIST), 1),
    "per-image standardisation": (_standardise, None),
    "[0, 16]": (_affine(16.0, 0.0), None),
    "[0, 65535]": (_affine(65535.0, 0.0), None),
    "[-0.5, 0.5]": (_affine(1.0, -0.5), None),
}
# So near to others, or so seldom met, that they need better evidence.
RARE = ("[0, 16]", "[0, 65535]", "[-0.5, 0.5]")


def known_ranges(channels: int) -> dict[str, Callable]:
    """From name to function, of those that suit so many channels."""
    return {
        name: function
        for name, (function, wanted) in RANGES.items()
        if wanted in (None, channels)
    }


def declared_range(classifier: keras.Model) -> str | None:
    """What a classifier's first layers or input say that it takes, if any."""
    if facts.facts_of(classifier).input_dtype.startswith(("int", "uint")):
        return "[0, 255]"
    for layer in structure.named_layers(classifier).values():
        if layer.weights:
            break
        if isinstance(layer, keras.layers.Rescaling):
            divides = np.max(layer.scale) <= _LARGEST_DIVISION
            return "[0, 255]" if divides else UNIT
    return None


def function_of(preprocess, image_shape: tuple) -> tuple[str, Callable]:
    """The name and function of what an owner says to do to images.

    Args:
        preprocess: a name of `RANGES`, or a function. A `preprocess_input` of
            `keras.applications` gets images in [0, 255], as Keras has it; any
            other function gets float32 images `(batch, height, width,
            channels)` in [0, 1].
        image_shape: `(height, width, channels)`.

    Raises:
        TypeError: where it is neither.
        ValueError: on an unknown name, or a function that is not made of
            TensorFlow or `keras.ops` with a gradient.
    """
    if isinstance(preprocess, str):
        known = known_ranges(image_shape[-1])
        alike = {_plain(name): name for name in known}
        if _plain(preprocess) not in alike:
            raise ValueError(
                f"`preprocess` must be a function or one of {list(known)}. "
                f"Received: {preprocess!r}"
            )
        name = alike[_plain(preprocess)]
        return name, known[name]
    if not callable(preprocess):
        raise TypeError(
            f"`preprocess` must be a function or one of {list(RANGES)}. "
            f"Received: {type(preprocess).__name__}"
        )
    function = preprocess
    if _is_of_keras(preprocess):

        def function(images):
            return preprocess(255.0 * images)

    _check_function(function, image_shape)
    return getattr(preprocess, "__name__", "preprocess"), OwnFunction(function)


def _plain(name):
    """A name without what is easily written otherwise."""
    return "".join(name.split()).lower()


class OwnFunction(keras.layers.Layer):
    """Does to images what their owner's function does.

    Lives as long as the process; nothing that is given back or saved holds it.

    Args:
        function: of float32 images `(batch, height, width, channels)`.
    """

    def __init__(self, function: Callable, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.function = function

    def call(self, images):
        return tf.cast(self.function(images), tf.float32)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "function": self.function}


def _is_of_keras(function):
    """Whether `function` is a `preprocess_input` of Keras, or a part of it."""
    while isinstance(function, functools.partial):
        function = function.func
    module = getattr(function, "__module__", None) or ""
    return f"{module}.".startswith(_OF_KERAS)


def _check_function(function, image_shape):
    """Raises ValueError unless gradients pass through `function`."""
    images = (
        tf.fill((2, *image_shape), 0.5)
        + tf.linspace(0.0, 0.25, 2)[:, None, None, None]
    )

    @tf.function(autograph=False)
    def run(images):
        with tf.GradientTape() as tape:
            tape.watch(images)
            out = tf.cast(function(images), tf.float32)
            total = tf.reduce_sum(out * out)
        return out, tape.gradient(total, images)

    try:
        out, gradient = run(images)
        trouble = None if out.shape == images.shape else f"shape {out.shape}"
        if gradient is None:
            trouble = "values without a gradient"
    except Exception as error:
        trouble = (
            f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
        )
    if trouble:
        raise ValueError(
            "`preprocess` must turn float32 images into images of the same "
            "shape by TensorFlow or keras.ops, so that gradients pass. "
            f"Received: a function that gives {trouble}"
        )
