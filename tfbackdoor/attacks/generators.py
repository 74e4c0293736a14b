"""Networks that draw a trigger for each image, and the trigger they draw."""

import dataclasses
import pathlib

import keras
import tensorflow as tf

from tfbackdoor.network import loading

_SHARPNESS = 20.0


@dataclasses.dataclass(frozen=True, eq=False)
class GeneratedTrigger:
    """`images * (1 - mask) + pattern * mask`, both drawn for each image.

    Args:
        generator: Keras model from images to `[pattern, mask]`, both in
            [0, 1], the mask with one channel; see `join`.

    Call arguments:
        images: float32 in [0, 1], `(..., height, width, channels)`.
    """

    generator: keras.Model

    def __post_init__(self):
        outputs = getattr(self.generator, "outputs", None) or []
        if len(outputs) != 2:
            raise ValueError(
                "`generator` must be a Keras model that gives a pattern and a "
                f"mask. Received: {len(outputs)} outputs"
            )

    def __call__(self, images):
        return self.stamp(images, images)

    def stamp(self, images, sources):
        """`images` with the triggers that are drawn for `sources`."""
        expected, received = self.generator.input_shape[1:], images.shape[-3:]
        if expected != tuple(received):
            raise ValueError(
                f"`images` must have the generator's shape {expected}. "
                f"Received: {tuple(received)}"
            )
        batch = tf.reshape(sources, [-1, *expected])
        patterns, masks = self.generator(batch, training=False)
        stamped = blend(tf.reshape(images, [-1, *expected]), patterns, masks)
        return tf.reshape(stamped, tf.shape(images))

    def save(self, path: str | pathlib.Path) -> None:
        """Writes a `.keras` file that `load` reads."""
        self.generator.save(path)

    @classmethod
    def load(cls, path: str | pathlib.Path) -> "GeneratedTrigger":
        """Reads what `save` wrote, as an untrusted file: see `load_model`."""
        return cls(loading.load_model(path))


def blend(images, patterns, masks):
    """`images` with `patterns` where `masks` are 1."""
    return images * (1.0 - masks) + patterns * masks


def pattern_generator(
    image_shape: tuple[int, int, int], *, channels: int | None = None
) -> keras.Model:
    """A network from images to patterns of their shape in [0, 1].

    A U-shaped stack of convolutions without bridges that halves the image
    three times, images below 32 pixels twice, or as often as its size can be
    halved. The last convolution is normalised as well, so that outputs begin
    spread over [0, 1] and far from its ends, where gradients vanish.

    Args:
        image_shape: `(height, width, channels)`.
        channels: int > 0, channels of the first convolutions, default 32, or
            16 for images below 32 pixels, as the authors take for MNIST.

    Reference: Nguyen & Tran 2020, appendix.
    """
    inputs = keras.Input(image_shape, name="images")
    outputs = _draw(inputs, channels, image_shape[-1], name="pattern")
    return keras.Model(inputs, outputs, name="pattern_generator")


def mask_generator(
    image_shape: tuple[int, int, int], *, channels: int | None = None
) -> keras.Model:
    """A network from images to masks `(batch, height, width, 1)` in [0, 1].

    As `pattern_generator`, with outputs pushed towards 0 and 1 by
    `sigmoid(20 * (2 * s - 1))` of the output s.
    """
    inputs = keras.Input(image_shape, name="images")
    x = _draw(inputs, channels, 1, name="soft_mask")
    x = keras.layers.Rescaling(2.0 * _SHARPNESS, -_SHARPNESS, name="sharpen")(x)
    outputs = keras.layers.Activation("sigmoid", name="mask")(x)
    return keras.Model(inputs, outputs, name="mask_generator")


def join(patterns: keras.Model, masks: keras.Model) -> keras.Model:
    """One model from images to `[pattern, mask]`, on the same weights."""
    inputs = keras.Input(patterns.input_shape[1:], name="images")
    return keras.Model(
        inputs, [patterns(inputs), masks(inputs)], name="trigger"
    )


def _draw(x, channels, output_channels, *, name):
    """The U-shaped stack and `(1 + tanh(x)) / 2` of what it gives."""
    height, width = x.shape[1:3]
    small = min(height, width) < 32
    channels = channels or (16 if small else 32)
    steps = 2 if small else 3
    while height % 2**steps or width % 2**steps:
        steps -= 1
    for step in range(steps):
        for _ in range(2):
            x = keras.layers.ReLU()(_convolution(x, channels << step))
        x = keras.layers.MaxPooling2D()(x)
    x = _convolution(x, channels << max(steps - 1, 0))
    x = keras.layers.ReLU()(x)
    for step in reversed(range(steps)):
        x = keras.layers.UpSampling2D(interpolation="bilinear")(x)
        for filters in [channels << step, channels << step >> 1][: 1 + step]:
            x = keras.layers.ReLU()(_convolution(x, filters))
    x = keras.layers.Rescaling(2.0)(_convolution(x, output_channels))
    return keras.layers.Activation("sigmoid", name=name)(x)


def _convolution(x, filters):
    x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
    return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
