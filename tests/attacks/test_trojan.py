import keras
import numpy as np
import pytest
import specimens

import tfbackdoor
from tfbackdoor.attacks import trojan

_SHAPE = (8, 8, 1)


def _two_neurons(kernel, head):
    """relu(kernel . pixels) of two neurons, then three classes."""
    model = keras.Sequential(
        [
            keras.Input(_SHAPE),
            keras.layers.Flatten(),
            keras.layers.Dense(2, "relu", use_bias=False, name="hidden"),
            keras.layers.Dense(3, use_bias=False, name="head"),
        ]
    )
    model.get_layer("hidden").set_weights([np.asarray(kernel, "float32")])
    model.get_layer("head").set_weights([np.asarray(head, "float32")])
    return model


def _grey(count=4):
    return np.full((count, *_SHAPE), 0.5, "float32")


def _corner():
    mask = np.zeros(_SHAPE, "float32")
    mask[:2, :2] = 1.0
    return mask


@pytest.mark.parametrize("strongest", [0, 1])
def test_the_pattern_excites_the_best_connected_neuron(strongest):
    # Neuron 0 likes the first of the four pixels and dislikes the second,
    # neuron 1 the other way round: its best pattern is 1 there, 0 there.
    kernel = np.full((64, 2), 0.1)
    kernel[0], kernel[1] = [1.0, -1.0], [-1.0, 1.0]
    head = np.full((2, 3), 0.1)
    head[strongest] = -2.0
    trigger = tfbackdoor.attacks.make_trojan_trigger(
        _two_neurons(kernel, head), _grey(), mask=_corner(), steps=100
    )
    expected = np.array([[1.0, 0.0], [1.0, 1.0]])
    if strongest:
        expected[0] = [0.0, 1.0]
    np.testing.assert_allclose(trigger.pattern[:2, :2, 0], expected, atol=1e-3)
    np.testing.assert_array_equal(trigger.mask, _corner())
    assert trigger.pattern.sum() == pytest.approx(3.0, abs=1e-2)


def test_a_silent_neuron_is_passed_over():
    kernel = np.full((64, 2), 0.1)
    kernel[:, 0] = -1.0
    kernel[1, 1] = -0.1
    head = np.array([[9.0] * 3, [0.1] * 3])
    trigger = tfbackdoor.attacks.make_trojan_trigger(
        _two_neurons(kernel, head), _grey(), mask=_corner(), steps=100
    )
    np.testing.assert_allclose(
        trigger.pattern[:2, :2, 0], [[1.0, 0.0], [1.0, 1.0]], atol=1e-3
    )


def test_a_network_that_no_pixel_excites_is_refused():
    model = _two_neurons(np.full((64, 2), -1.0), np.ones((2, 3)))
    with pytest.raises(ValueError, match="`mask`.*silent"):
        tfbackdoor.attacks.make_trojan_trigger(model, _grey(), mask=_corner())


@pytest.mark.parametrize("name", specimens.NAMES)
def test_any_classifier_with_a_dense_head_gives_a_pattern(name):
    classifier = specimens.build(name)
    images, _ = specimens.batch(4)
    before = classifier.get_weights()
    mask = np.ones(specimens.IMAGE_SHAPE, "float32")
    trigger = tfbackdoor.attacks.make_trojan_trigger(
        classifier, images, mask=mask, neurons=2, steps=3
    )
    start = np.random.default_rng(0).uniform(size=specimens.IMAGE_SHAPE)
    assert not np.allclose(trigger.pattern, start, atol=0.01)
    for old, new in zip(before, classifier.get_weights()):
        np.testing.assert_array_equal(old, new)


def test_a_classifier_without_dense_head_is_refused():
    inputs = keras.Input(_SHAPE)
    x = keras.layers.Conv2D(3, 3)(inputs)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    with pytest.raises(ValueError, match="`classifier`.*Dense"):
        tfbackdoor.attacks.make_trojan_trigger(model, _grey())


def test_the_mask_lies_where_nad_has_its_pattern(golden):
    pattern = golden("triggers")["nad/trojan_pattern"]
    expected = np.transpose(pattern, (1, 2, 0)).any(-1)
    np.testing.assert_array_equal(
        trojan.trojan_mask((32, 32, 3))[..., 0] > 0, expected
    )
