import keras
import numpy as np
import pytest

import tfbackdoor
from tfbackdoor.network import batch_size

_SLOPES = [1.0, 2.0, 8.0, 3.0]


def _classifier(activation=None, own_layer=False):
    """Class k is the sum of its 4 of 16 pixels, times a slope."""
    inputs = keras.Input((4, 4, 1))
    x = keras.layers.Flatten()(inputs)
    head = keras.layers.Dense(4, None if own_layer else activation)
    x = head(x)
    if own_layer:
        x = keras.layers.Activation(activation)(x)
    kernel = np.zeros((16, 4), "float32")
    for k, slope in enumerate(_SLOPES):
        kernel[4 * k : 4 * k + 4, k] = slope
    head.set_weights([kernel, np.zeros(4, "float32")])
    return keras.Model(inputs, x)


def _images():
    black = np.zeros((24, 4, 4, 1), "float32")
    return tfbackdoor.from_arrays(black, np.arange(24) % 4)


# White on the 4 pixels of a class and black elsewhere: 4 times its slope.
@pytest.mark.parametrize(
    ("activation", "own_layer"),
    [(None, False), ("softmax", False), ("softmax", True)],
)
def test_margins_are_the_largest_in_the_box(activation, own_layer):
    margins = tfbackdoor.scanning.largest_margins(
        _classifier(activation, own_layer), _images()
    )
    np.testing.assert_allclose(margins, 4.0 * np.array(_SLOPES), rtol=1e-4)


def test_a_softmax_that_stays_ends_margins_at_what_float32_can_tell():
    softmax = keras.layers.Softmax()
    logits = _classifier()
    kernel, bias = logits.layers[-1].get_weights()
    logits.layers[-1].set_weights([100.0 * kernel, bias])
    margins = tfbackdoor.scanning.largest_margins(
        keras.Model(logits.input, softmax(logits.output)), _images()
    )
    # The logarithm of 1e-37, below which float32 has no ordinary numbers.
    np.testing.assert_allclose(margins, 85.196, rtol=1e-4)


def test_margins_in_groups_are_those_of_all_at_once(monkeypatch):
    together = tfbackdoor.scanning.largest_margins(_classifier(), _images())
    monkeypatch.setattr(batch_size, "batch_size_for", lambda *_, **__: 5)
    in_groups = tfbackdoor.scanning.largest_margins(_classifier(), _images())
    np.testing.assert_allclose(in_groups, together, rtol=1e-5)


def test_the_classifier_keeps_its_softmax_and_its_weights():
    classifier = _classifier("softmax")
    before = classifier.get_weights()
    tfbackdoor.scanning.largest_margins(classifier, _images())
    assert classifier.layers[-1].activation is keras.activations.softmax
    for old, new in zip(before, classifier.get_weights()):
        np.testing.assert_array_equal(old, new)
