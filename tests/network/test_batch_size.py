import keras
import numpy as np
import pytest
import specimens

from tfbackdoor.network import batch_size


# Numbers of the functional specimen for one image of 8x8x3: the image 192,
# six maps of 8x8x6 are 2,304, a half of 4x4x6 is 96, three of 4x4x8 are 384,
# the pool 8 and the scores 4; 4 bytes each.
def test_activations_of_an_image_are_counted():
    classifier = specimens.build("functional")
    assert batch_size.bytes_per_image(classifier) == 4 * 2_988


@pytest.mark.parametrize(
    ("settings", "images"),
    [
        ({"limit_bytes": 10 * 4 * 2_988 + 1}, 10),
        ({"limit_bytes": 10 * 4 * 2_988 - 1}, 9),
        ({"limit_bytes": 10 * 4 * 2_988, "training": True}, 5),
        ({"limit_bytes": 1}, 1),
        ({}, 256),
        ({"most": 7}, 7),
    ],
)
def test_as_many_images_as_fit_are_taken(settings, images):
    classifier = specimens.build("functional")
    assert batch_size.batch_size_for(classifier, **settings) == images


class Block(keras.layers.Layer):
    """Two convolutions that no graph shows: 8x8x5 and 8x8x3."""

    def __init__(self):
        super().__init__()
        self.wide = keras.layers.Conv2D(5, 1)
        self.narrow = keras.layers.Conv2D(3, 1)

    def call(self, inputs):
        return self.narrow(self.wide(inputs))


def test_layers_that_no_graph_shows_count_too():
    # A map of 8x8x6 of each of the three first layers, pool and scores.
    assert batch_size.bytes_per_image(specimens.build("subclassed")) == 4 * (
        3 * 384 + 6 + 4
    )
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Flatten()(Block()(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    numbers = 64 * 5 + 64 * 3 + 192 + 2
    assert batch_size.bytes_per_image(model) == 4 * numbers


def test_a_large_network_takes_few_images_at_once():
    classifier = keras.applications.MobileNetV2(weights=None, classes=10)
    needed = batch_size.bytes_per_image(classifier)
    # Measured with the resident set of a process: 86 MiB an image.
    assert needed == pytest.approx(86 * 2**20, rel=0.3)
    assert 2**30 - needed < needed * batch_size.batch_size_for(classifier)
    assert np.prod(classifier.input_shape[1:]) * 4 < needed
