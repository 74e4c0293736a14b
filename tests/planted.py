"""A classifier with a backdoor that is known to the last weight.

Images are 8x8x1 of dark noise with one of six brighter regions, which is the
label. A hidden neuron watches the last pixel: white, it turns them
to class 3.
"""

import keras
import numpy as np

import tfbackdoor

CLASSES, TARGET = 6, 3
_SHAPE = (8, 8, 1)
_REGION = 10
_REGION_WEIGHT, _BACKDOOR_WEIGHT = 3.0, 8.0
_SLOPE, _ONSET = 10.0, 8.0


def classifier(levels=1.0, activation=None):
    """The classifier; `levels` is the pixel value of white."""
    inputs = keras.Input(_SHAPE)
    x = keras.layers.Flatten()(inputs)
    x = keras.layers.Dense(CLASSES + 1, "softplus", name="hidden")(x)
    x = keras.layers.Dense(CLASSES, activation, name="head")(x)
    model = keras.Model(inputs, x)
    kernel = np.zeros((64, CLASSES + 1), "float32")
    for region in range(CLASSES):
        kernel[region * _REGION : (region + 1) * _REGION, region] = 1.0
    kernel[63, CLASSES] = _SLOPE
    bias = np.zeros(CLASSES + 1, "float32")
    bias[CLASSES] = -_ONSET
    model.get_layer("hidden").set_weights([kernel / levels, bias])
    head = np.zeros((CLASSES + 1, CLASSES), "float32")
    head[:CLASSES] = _REGION_WEIGHT * np.eye(CLASSES)
    head[CLASSES, TARGET] = _BACKDOOR_WEIGHT
    # Without enough light the answer is class 0.
    bias = np.float32([0.5, *[0.0] * (CLASSES - 1)])
    model.get_layer("head").set_weights([head, bias])
    return model


def images(count, seed=0):
    """Unbatched images and labels, all of them answered right."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    pixels = rng.uniform(0.0, 0.4, (count, 64))
    for image, label in zip(pixels, labels):
        image[label * _REGION : (label + 1) * _REGION] += 0.2
    pixels = pixels.reshape(count, *_SHAPE).astype("float32")
    return tfbackdoor.from_arrays(pixels, labels)


def attack():
    """The backdoor's trigger and target."""
    mask = np.zeros(_SHAPE)
    mask[-1, -1] = 1.0
    return tfbackdoor.Poisoning(
        tfbackdoor.Trigger(mask, mask), classes=CLASSES, target=TARGET
    )
