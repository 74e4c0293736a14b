"""Scores of other shapes become one per class, and come back as they were."""

import keras
import numpy as np
import pytest

from tfbackdoor.network import adapting
from tfbackdoor.network import copying
from tfbackdoor.network import door

L = keras.layers
IMAGES = np.random.default_rng(0).random((40, 8, 8, 1), "float32")


@keras.saving.register_keras_serializable("tests")
class OneUnit(keras.Model):
    """A subclassed model of one unit, of which no graph tells anything."""

    def __init__(self, activation="sigmoid", **kwargs):
        super().__init__(**kwargs)
        self.activation = activation
        self.flatten, self.head = L.Flatten(), L.Dense(1, activation)

    def call(self, inputs):
        return self.head(self.flatten(inputs))

    def get_config(self):
        return {**super().get_config(), "activation": self.activation}


def _subclassed(activation="sigmoid"):
    model = OneUnit(activation)
    model(IMAGES[:1])
    return model


def _functional(activation, last):
    inputs = keras.Input((8, 8, 1))
    x = L.Dense(1, activation)(L.Flatten()(inputs))
    return keras.Model(inputs, last(x))


_SIGMOIDS = {
    "subclassed": _subclassed,
    "dropped out": lambda: _functional("sigmoid", L.Dropout(0.5)),
    "squeezed": lambda: _functional(
        "sigmoid", lambda x: keras.ops.squeeze(x, -1)
    ),
    "by an operation": lambda: _functional(None, keras.ops.sigmoid),
    "written out": lambda: _functional(
        None, lambda x: 1.0 / (1.0 + keras.ops.exp(-x))
    ),
}


@pytest.mark.parametrize("kind", _SIGMOIDS)
def test_one_sigmoid_unit_of_any_make_is_two_classes(kind):
    model = _SIGMOIDS[kind]()
    first = np.reshape(model(IMAGES, training=False), -1)
    conforming = adapting.conform(model)
    expected = np.stack([1.0 - first, first], axis=1)
    np.testing.assert_allclose(conforming(IMAGES), expected, atol=1e-6)
    labels = (first > np.median(first)).astype(int)
    admitted = door.admit(model, (IMAGES, labels), preprocess="[0, 1]")
    copied = admitted.restore(copying.copy_classifier(conforming))
    np.testing.assert_allclose(
        copied(IMAGES, training=False), model(IMAGES, training=False), atol=1e-6
    )


@pytest.mark.parametrize(
    "build",
    [
        lambda: _subclassed("linear"),
        lambda: _subclassed("tanh"),
        lambda: _functional(None, lambda x: x),
        lambda: _functional("relu", L.Dropout(0.5)),
    ],
)
def test_one_unbounded_score_is_refused(build):
    with pytest.raises(ValueError, match="Activation\\('sigmoid'\\)"):
        adapting.conform(build())


def test_scores_of_a_convolution_that_covers_all_are_flattened():
    inputs = keras.Input((8, 8, 1))
    x = L.Conv2D(5, 8, activation="softmax", name="scores")(inputs)
    model = keras.Model(inputs, x)
    labels = np.argmax(np.reshape(model(IMAGES), (-1, 5)), axis=1)
    admitted = door.admit(model, (IMAGES, labels), copyable=True)
    assert admitted.classifier.output_shape == (None, 5)
    np.testing.assert_allclose(
        admitted.classifier(IMAGES), np.reshape(model(IMAGES), (-1, 5))
    )
    copied = copying.copy_classifier(admitted.classifier)
    assert admitted.restore(copied).output_shape == (None, 1, 1, 5)


def test_scores_of_many_places_are_refused():
    inputs = keras.Input((8, 8, 1))
    model = keras.Model(inputs, L.Conv2D(5, 7)(inputs))
    with pytest.raises(ValueError, match="one score per class.*2, 2, 5"):
        adapting.conform(model)
