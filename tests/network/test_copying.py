import keras
import numpy as np
import pytest
import specimens

import tfbackdoor
from tfbackdoor.network import compute_view
from tfbackdoor.network import structure
from tfbackdoor.report import evidence


class Scaled(keras.layers.Layer):
    """Does not take the arguments of all layers: no name, no dtype."""

    def __init__(self, start):
        super().__init__()
        self.start = start

    def call(self, inputs):
        return self.start * inputs


class Unregistered(keras.Model):
    """A subclassed model of a class that no file may name."""

    def __init__(self):
        super().__init__()
        self.scaled = Scaled(2.0)
        self.head = keras.layers.Dense(3)

    def call(self, inputs):
        return self.head(keras.ops.reshape(self.scaled(inputs), (-1, 192)))


def _with(layer):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Flatten()(layer(inputs))
    return keras.Model(inputs, keras.layers.Dense(3)(x))


def _unregistered():
    model = Unregistered()
    model(np.zeros((1, 8, 8, 3)))
    return model


@pytest.mark.parametrize("build", [lambda: _with(Scaled(0.5)), _unregistered])
def test_a_layer_that_cannot_be_copied_is_named_with_the_way_out(build):
    with pytest.raises(
        ValueError,
        match=r"the layer 'scaled\w*' of Scaled, which fails with: .*"
        "'trainable'.*get_config.*register_keras_serializable",
    ) as error:
        tfbackdoor.copy_classifier(build())
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("nested", [False, True])
def test_a_function_in_memory_is_copied(nested):
    layer = keras.layers.Lambda(lambda x, by: by * x, arguments={"by": 2.0})
    if nested:
        layer = keras.Sequential([keras.Input((8, 8, 3)), layer])
    classifier = _with(layer)
    copied = tfbackdoor.copy_classifier(classifier)
    images, _ = specimens.batch(2)
    expected = classifier(images)
    np.testing.assert_array_equal(copied(images), expected)
    view = compute_view.ComputeView(classifier)
    assert view.model is not classifier
    np.testing.assert_allclose(
        view(images, training=False)[0], expected, atol=1e-6
    )
    copied.set_weights([np.zeros_like(w) for w in copied.get_weights()])
    np.testing.assert_array_equal(classifier(images), expected)


@pytest.mark.parametrize("name", specimens.NAMES)
def test_copies_have_weights_of_their_own(name):
    classifier = specimens.build(name)
    images, _ = specimens.batch(4)
    expected = classifier(images, training=False)
    copied = tfbackdoor.copy_classifier(classifier)
    np.testing.assert_allclose(
        copied(images, training=False), expected, atol=1e-6
    )
    copied.set_weights([np.zeros_like(w) for w in copied.get_weights()])
    np.testing.assert_array_equal(classifier(images, training=False), expected)


@keras.saving.register_keras_serializable("tests")
class OfNumberedLayers(keras.Model):
    """Names no layer: Keras numbers them, anew for each model."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.convolution = keras.layers.Conv2D(4, 3)
        self.activation = keras.layers.ReLU()
        self.flatten = keras.layers.Flatten()
        self.head = keras.layers.Dense(3)

    def call(self, inputs):
        x = self.activation(self.convolution(inputs))
        return self.head(self.flatten(x))


def _of_numbered_layers():
    model = OfNumberedLayers()
    model(np.zeros((1, 8, 8, 3)))
    return model


def _without_names():
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, _of_numbered_layers()(inputs))


@pytest.mark.parametrize("build", [_of_numbered_layers, _without_names])
def test_layers_of_a_copy_have_their_names(build):
    classifier = build()
    copied = tfbackdoor.copy_classifier(classifier)
    names, copies = (
        [layer.name for layer in structure.all_layers(model)]
        for model in (classifier, copied)
    )
    assert names == copies
    (tap,) = tfbackdoor.find_taps(classifier)
    images = np.random.default_rng(0).random((2, 8, 8, 3), "float32")
    maps = evidence.attention_of_first(
        {"before": classifier, "purified": copied}, images
    )
    np.testing.assert_allclose(
        maps["before"][tap], maps["purified"][tap], atol=1e-6
    )
