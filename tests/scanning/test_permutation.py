import keras
import numpy as np
import planted
import pytest

import tfbackdoor
from tfbackdoor.scanning import permutation

_LABELS = np.repeat(np.arange(4), 10)


# Ten of ten images of one class: (10 / 12)^2, both with two doubtful ones.
def test_a_permutation_is_one_to_one():
    shares = permutation.one_to_one((_LABELS + 1) % 4, _LABELS, 4)
    np.testing.assert_allclose(shares, (10 / 12) ** 2)


def test_one_target_is_not_one_to_one():
    shares = permutation.one_to_one(np.full(40, 3), _LABELS, 4)
    # Ten of twelve images of a class, of 30 wrong answers and two more.
    np.testing.assert_allclose(shares, [0, 0, 0, (10 / 12) * (10 / 32)])


def test_right_answers_are_not_one_to_one():
    np.testing.assert_array_equal(
        permutation.one_to_one(_LABELS, _LABELS, 4), 0.0
    )


def test_few_images_tell_little():
    shares = permutation.one_to_one([1, 2, 3, 0], [0, 1, 2, 3], 4)
    np.testing.assert_allclose(shares, (1 / 3) ** 2)


def _all_to_all():
    """The planted classifier; light in the last four pixels shifts classes."""
    classes = planted.CLASSES
    model = planted.classifier()
    kernel, bias = model.get_layer("head").get_weights()
    kernel[classes] = 0.0
    x = model.get_layer("hidden").output
    plain, shifted = keras.layers.Dense(classes), keras.layers.Dense(classes)
    switch = keras.layers.Dense(1, "sigmoid")
    on = switch(keras.layers.Flatten()(model.input))
    off = keras.layers.Rescaling(-1.0, 1.0)(on)
    logits = keras.layers.Add()(
        [
            keras.layers.Multiply()([plain(x), off]),
            keras.layers.Multiply()([shifted(x), on]),
        ]
    )
    plain.set_weights([kernel, bias])
    shifted.set_weights([np.roll(kernel, 1, axis=1), np.roll(bias, 1)])
    weights = np.zeros((64, 1), "float32")
    weights[60:] = 3.0
    switch.set_weights([weights, np.float32([-4.0])])
    return keras.Model(model.input, logits)


def test_a_patch_that_permutes_the_classes_is_found():
    found = tfbackdoor.scanning.one_to_one_shares(
        _all_to_all(), planted.images(120)
    )
    # Twenty images a class: (20 / 22)^2 where all go to the next class.
    np.testing.assert_allclose(found, (20 / 22) ** 2, atol=0.15)


@pytest.mark.parametrize("backdoored", [True, False])
def test_one_target_permutes_nothing(backdoored):
    classifier = planted.classifier()
    if not backdoored:
        kernel, bias = classifier.get_layer("head").get_weights()
        kernel[planted.CLASSES] = 0.0
        classifier.get_layer("head").set_weights([kernel, bias])
    found = tfbackdoor.scanning.one_to_one_shares(
        classifier, planted.images(120)
    )
    assert np.mean(found) < 0.2
