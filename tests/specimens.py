"""One small classifier of each kind that Keras can build.

All take images (8, 8, 3) to the scores of 4 classes. Variables hold distinct
values, so that a swap is seen.
"""

import keras
import numpy as np

IMAGE_SHAPE = (8, 8, 3)
CLASSES = 4


def functional():
    inputs = keras.Input(IMAGE_SHAPE)
    x = keras.layers.Conv2D(6, 3, padding="same", name="conv")(inputs)
    x = keras.layers.BatchNormalization(name="bn")(x)
    x = keras.layers.ReLU(name="relu")(x)
    y = keras.layers.Conv2D(6, 3, padding="same", name="conv2")(x)
    y = keras.layers.BatchNormalization(name="bn2")(y)
    x = keras.layers.Add(name="add")([x, y])
    x = keras.layers.MaxPooling2D(name="half")(x)
    x = keras.layers.Conv2D(8, 3, padding="same", name="conv3")(x)
    x = keras.layers.BatchNormalization(name="bn3")(x)
    x = keras.layers.ReLU(name="relu3")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(CLASSES, name="head")(x))


def sequential_softmax():
    return keras.Sequential(
        [
            keras.Input(IMAGE_SHAPE),
            keras.layers.Conv2D(6, 3, name="conv"),
            keras.layers.BatchNormalization(name="bn"),
            keras.layers.ELU(name="elu"),
            keras.layers.Flatten(),
            keras.layers.Dense(8, activation="relu", name="hidden"),
            keras.layers.Dense(CLASSES, activation="softmax", name="head"),
        ]
    )


def nested():
    inner_inputs = keras.Input((8, 8, 6))
    y = keras.layers.BatchNormalization(name="bn")(inner_inputs)
    y = keras.layers.ReLU(name="relu")(y)
    inner = keras.Model(inner_inputs, y, name="inner")
    inputs = keras.Input(IMAGE_SHAPE)
    x = keras.layers.Conv2D(6, 3, padding="same", name="conv")(inputs)
    x = inner(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(CLASSES, name="head")(x))


def shared_layer():
    shared = keras.layers.BatchNormalization(name="bn")
    inputs = keras.Input(IMAGE_SHAPE)
    x = keras.layers.Conv2D(6, 3, padding="same", name="conv")(inputs)
    x = keras.layers.ReLU(name="relu")(shared(x))
    x = keras.layers.Conv2D(6, 3, padding="same", name="conv2")(x)
    x = keras.layers.ReLU(name="relu2")(shared(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(CLASSES, name="head")(x))


def without_normalisation():
    return keras.Sequential(
        [
            keras.Input(IMAGE_SHAPE),
            keras.layers.Conv2D(6, 3, activation="relu", name="conv"),
            keras.layers.Conv2D(5, 3, use_bias=False, name="conv2"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(CLASSES, name="head"),
        ]
    )


@keras.saving.register_keras_serializable("specimens")
class Subclassed(keras.Model):
    def __init__(self, scale=True, **kwargs):
        super().__init__(**kwargs)
        self.conv = keras.layers.Conv2D(6, 3, padding="same", name="conv")
        self.bn = keras.layers.BatchNormalization(scale=scale, name="bn")
        self.relu = keras.layers.ReLU(name="relu")
        self.pool = keras.layers.GlobalAveragePooling2D()
        self.head = keras.layers.Dense(CLASSES, name="head")

    def call(self, inputs, training=False):
        x = self.relu(self.bn(self.conv(inputs), training=training))
        return self.head(self.pool(x))


def subclassed():
    model = Subclassed()
    model(np.zeros((1, *IMAGE_SHAPE), "float32"))
    return model


def unscaled():
    """Batch normalisations without gamma, as in InceptionV3."""
    inputs = keras.Input(IMAGE_SHAPE)
    x = keras.layers.Conv2D(6, 3, name="conv")(inputs)
    x = keras.layers.BatchNormalization(scale=False, name="bn")(x)
    x = keras.layers.ReLU(name="relu")(x)
    x = keras.layers.SeparableConv2D(5, 3, use_bias=False, name="conv2")(x)
    x = keras.layers.BatchNormalization(scale=False, center=False, name="bn2")(
        x
    )
    x = keras.layers.ReLU(name="relu2")(x)
    # Something lies between, and what is between would have to stay zero.
    x = keras.layers.Conv2D(5, 1, name="conv3")(x)
    x = keras.layers.ReLU(name="relu3")(x)
    x = keras.layers.BatchNormalization(scale=False, name="bn3")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(CLASSES, name="head")(x))


def kernels():
    """Kernels whose neurons are not their last axis, and no normalisation."""
    return keras.Sequential(
        [
            keras.Input(IMAGE_SHAPE),
            keras.layers.DepthwiseConv2D(
                3, depth_multiplier=2, activation="relu", name="depthwise"
            ),
            keras.layers.SeparableConv2D(5, 3, name="separable"),
            keras.layers.Conv2DTranspose(4, 2, name="transposed"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(CLASSES, name="head"),
        ]
    )


def other_normalisations():
    """Group and layer normalisation, softmax as a layer of its own."""
    inputs = keras.Input(IMAGE_SHAPE)
    x = keras.layers.Conv2D(6, 3, name="conv")(inputs)
    x = keras.layers.GroupNormalization(2, name="group_norm")(x)
    x = keras.layers.Activation("gelu", name="gelu")(x)
    x = x * keras.ops.sigmoid(x + 1.0)
    x = keras.layers.Conv2D(5, 3, name="conv2")(x)
    x = keras.layers.LayerNormalization(name="layer_norm")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(CLASSES, name="head")(x)
    return keras.Model(inputs, keras.layers.Softmax(name="softmax")(x))


def preprocessed():
    """A model in a model that rescales and normalises its images first."""
    inputs = keras.Input(IMAGE_SHAPE)
    x = keras.layers.Conv2D(6, 3, name="conv")(inputs)
    x = keras.layers.BatchNormalization(scale=False, name="bn")(x)
    base = keras.Model(inputs, keras.layers.ReLU(name="relu")(x), name="base")
    return keras.Sequential(
        [
            keras.Input(IMAGE_SHAPE),
            keras.layers.Rescaling(2.0, offset=-1.0),
            keras.layers.Normalization(name="adapted"),
            base,
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(5, activation="relu", name="hidden"),
            keras.layers.Dense(CLASSES, name="head"),
            keras.layers.Activation("softmax", name="softmax"),
        ]
    )


_BUILDERS = (
    functional,
    sequential_softmax,
    nested,
    shared_layer,
    without_normalisation,
    subclassed,
    unscaled,
    kernels,
    other_normalisations,
    preprocessed,
)
GIVE_PROBABILITIES = {
    "sequential_softmax",
    "other_normalisations",
    "preprocessed",
}
NAMES = tuple(builder.__name__ for builder in _BUILDERS)


def build(name):
    """The specimen of that name, with distinct values in its variables."""
    builders = {builder.__name__: builder for builder in _BUILDERS}
    model = builders[name]()
    rng = np.random.default_rng(1)
    for variable in model.weights:
        value = rng.normal(0.0, 0.5, variable.shape)
        if "variance" in variable.path or "gamma" in variable.path:
            value = rng.uniform(0.5, 1.5, variable.shape)
        variable.assign(value)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # Computes with these values from now on.
    return model


def build_teacher(name="functional"):
    """The specimen of that name with other weights."""
    teacher = build(name)
    rng = np.random.default_rng(7)
    for variable in teacher.trainable_weights:
        variable.assign(variable * rng.uniform(0.5, 1.5, variable.shape))
    return teacher


def batch(count=16, seed=2):
    """Images in [0, 1] and labels."""
    rng = np.random.default_rng(seed)
    images = rng.random((count, *IMAGE_SHAPE)).astype("float32")
    return images, rng.integers(0, CLASSES, count)
