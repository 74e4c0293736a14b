"""The search for reflections that work, with a classifier of brightness."""

import keras
import numpy as np
import pytest

import tfbackdoor
from tfbackdoor.attacks import refool

_SHAPE = (4, 4, 1)
_COUNT = 12


@pytest.fixture(scope="module")
def classifier():
    """Class 1 where the mean of an image is above 0.5, else class 0."""
    inputs = keras.Input(_SHAPE)
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    model.layers[-1].set_weights(
        [np.array([[0.0, 1.0]]), np.array([0.0, -0.5])]
    )
    return model


@pytest.fixture(scope="module")
def candidates():
    brightness = np.random.default_rng(0).permutation(_COUNT) / (_COUNT - 1)
    layers = np.tile(brightness[:, None, None, None], (1, *_SHAPE))
    return tfbackdoor.attacks.Reflections(layers, np.full(_COUNT, 0.4))


def _images():
    levels = np.linspace(0.2, 0.75, 20, dtype="float32")
    return np.tile(levels[:, None, None, None], (1, *_SHAPE))


def test_a_rate_is_the_share_of_images_that_the_reflection_brings_over(
    candidates, classifier
):
    images = _images()
    layers = candidates.reflections[:, None] / 255.0
    mixed = 0.6 * images[None] + 0.4 * layers
    expected = (mixed.mean((2, 3, 4)) > 0.5).mean(1)
    assert 0 < expected.min() + 0.1 < expected.max()
    for target, rates in ((1, expected), (0, 1.0 - expected)):
        np.testing.assert_allclose(
            refool.success_rates(candidates, classifier, images, target),
            rates,
            atol=1e-6,
        )


def test_the_brightest_are_chosen_for_the_bright_class(candidates, classifier):
    chosen = tfbackdoor.attacks.choose_reflections(
        candidates, classifier, _images(), count=3, target=1
    )
    order = np.argsort(candidates.reflections.mean((1, 2, 3)))
    np.testing.assert_array_equal(
        chosen.reflections, candidates.reflections[np.sort(order[-3:])]
    )
    np.testing.assert_array_equal(chosen.alphas, candidates.alphas[:3])


@pytest.mark.parametrize("count", [0, _COUNT + 1])
def test_a_count_out_of_range_is_refused(candidates, classifier, count):
    with pytest.raises(ValueError, match="`count` must lie in 1 to 12"):
        tfbackdoor.attacks.choose_reflections(
            candidates, classifier, _images(), count=count, target=1
        )
