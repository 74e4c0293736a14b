import keras
import numpy as np
import pytest
import specimens

from tfbackdoor.network import compute_view


def _augmenting(x):
    x = keras.layers.RandomFlip(seed=1)(x)
    x = keras.layers.RandomTranslation(0.3, 0.3, seed=1)(x)
    return keras.layers.RandomContrast(0.5, seed=1)(x)


class Augment(keras.layers.Layer):
    """A layer that does not know of `training`, with layers that do."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.flip = keras.layers.RandomFlip(seed=1)
        self.bn = keras.layers.BatchNormalization(momentum=0.5)

    def call(self, inputs):
        return self.bn(self.flip(inputs))


class Whole(keras.Model):
    """A model that does not know of `training` either."""

    def __init__(self):
        super().__init__()
        self.augment = Augment()
        self.head = keras.layers.Dense(4)

    def call(self, inputs):
        return self.head(keras.ops.reshape(self.augment(inputs), (-1, 192)))


def _model(first):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3)(first(inputs))
    x = keras.layers.Dropout(0.5, seed=1)(keras.layers.Flatten()(x))
    return keras.Model(inputs, keras.layers.Dense(4)(x))


def _subclassed():
    model = Whole()
    model(np.zeros((1, 8, 8, 3)))
    return model


_BUILDERS = {
    "layers": lambda: _model(_augmenting),
    "sequential": lambda: _model(
        keras.Sequential([keras.layers.RandomFlip(seed=1)])
    ),
    "within a layer": lambda: _model(Augment()),
    "within a subclassed model": _subclassed,
}


@pytest.mark.parametrize("name", _BUILDERS)
def test_a_view_augments_in_training_alone(name):
    classifier = _BUILDERS[name]()
    view = compute_view.ComputeView(classifier)
    images, _ = specimens.batch(8)
    expected = classifier(images, training=False).numpy()
    scores, _ = view(images, training=False)
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    scores, _ = view(images, training=True)
    assert np.abs(scores - expected).max() > 0.1


# Half of the batch's mean (momentum 0.5) of pixels that flips only move.
@pytest.mark.parametrize(
    "name", ["within a layer", "within a subclassed model"]
)
def test_layers_within_layers_train_by_batch_statistics(name):
    classifier = _BUILDERS[name]()
    view = compute_view.ComputeView(classifier)
    images, _ = specimens.batch(8)
    _, updates = view(images, training=True)
    found = {variable.path: value for variable, value in updates}
    (mean,) = (found[path] for path in found if path.endswith("moving_mean"))
    np.testing.assert_allclose(mean, 0.5 * images.mean((0, 1, 2)), rtol=1e-4)
