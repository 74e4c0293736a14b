import keras
import numpy as np
import pytest
import specimens

import tfbackdoor
from tfbackdoor.training import losses


def _linear():
    """Class scores that are a linear function of 12 pixels."""
    model = keras.Sequential(
        [
            keras.Input((2, 2, 3)),
            keras.layers.Flatten(),
            keras.layers.Dense(4, name="head"),
        ]
    )
    rng = np.random.default_rng(3)
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    return model


def _gradients(weights, x, labels, smoothing):
    """Of the smoothed cross-entropy, in float64: X^T (p - q) / n."""
    kernel, bias = weights
    scores = x @ kernel + bias
    p = np.exp(scores - scores.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    q = (1 - smoothing) * np.eye(4)[labels] + smoothing / 4
    error = (p - q) / len(x)
    return [x.T @ error, error.sum(0)]


def test_a_step_is_that_of_the_paper():
    rho, rate, decay, smoothing = 0.7, 0.1, 1e-2, 0.1
    model = _linear()
    rng = np.random.default_rng(0)
    images = rng.random((8, 2, 2, 3)).astype("float32")
    labels = rng.integers(0, 4, 8)
    weights = [w.astype("float64") for w in model.get_weights()]
    x = images.reshape(8, -1).astype("float64")
    g = _gradients(weights, x, labels, smoothing)
    norm = np.sqrt(
        sum(((np.abs(w) * d) ** 2).sum() for w, d in zip(weights, g))
    )
    moved = [w + rho * w**2 * d / norm for w, d in zip(weights, g)]
    there = _gradients(moved, x, labels, smoothing)
    expected = [w - rate * (d + decay * w) for w, d in zip(weights, there)]
    training = tfbackdoor.defenses.SharpnessAwareTraining(model, rho=rho)
    training.compile(
        tfbackdoor.training.CoupledSGD(rate, momentum=0.0, l2=decay),
        loss=losses.SmoothedCrossEntropy(from_logits=True, smoothing=smoothing),
    )
    training.fit(images, labels, batch_size=8, verbose=0)
    for given, wanted in zip(model.get_weights(), expected):
        np.testing.assert_allclose(given, wanted, atol=1e-5)


def _fit(kind, **settings):
    model = specimens.build("functional")
    training = kind(model, **settings)
    training.compile(tfbackdoor.training.CoupledSGD(0.05))
    images, labels = specimens.batch(16)
    training.fit(images, labels, batch_size=16, verbose=0)
    return model


def test_without_a_radius_it_is_plain_training():
    plain = _fit(tfbackdoor.training.ClassifierTraining)
    ours = _fit(tfbackdoor.defenses.SharpnessAwareTraining, rho=0.0)
    for a, b in zip(plain.get_weights(), ours.get_weights()):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_moving_statistics_follow_the_first_pass_alone():
    plain = _fit(tfbackdoor.training.ClassifierTraining)
    ours = _fit(tfbackdoor.defenses.SharpnessAwareTraining, rho=2.0)
    moved = 0.0
    for a, b in zip(plain.weights, ours.weights):
        if "moving" in a.path:
            np.testing.assert_allclose(a, b, atol=1e-6)
        else:
            moved = max(moved, np.abs(a.numpy() - b.numpy()).max())
    assert moved > 1e-4


def test_config_round_trip():
    training = tfbackdoor.defenses.SharpnessAwareTraining(_linear(), rho=8.0)
    copy = type(training).from_config(training.get_config())
    assert copy.rho == 8.0


def test_a_negative_radius_is_refused():
    with pytest.raises(ValueError, match="`rho` must be >= 0"):
        tfbackdoor.defenses.SharpnessAwareTraining(_linear(), rho=-1.0)


def test_smoothed_labels_cost_their_share():
    # Of scores 0, 0, log 2: probabilities 1/4, 1/4, 1/2. Smoothed by 0.3 the
    # label 2 is 0.1, 0.1, 0.8: 0.2 * log 4 + 0.8 * log 2.
    loss = losses.SmoothedCrossEntropy(from_logits=True, smoothing=0.3)
    given = loss([2], np.log([[1.0, 1.0, 2.0]]))
    assert float(given) == pytest.approx(1.2 * np.log(2.0), rel=1e-5)
    copy = type(loss).from_config(loss.get_config())
    assert (copy.from_logits, copy.smoothing) == (True, 0.3)
    with pytest.raises(ValueError, match="`smoothing` must lie in"):
        losses.SmoothedCrossEntropy(from_logits=True, smoothing=1.5)


def test_two_replicas_learn_what_one_device_learns(two_replicas):
    data = tfbackdoor.from_arrays(*specimens.batch(32)).batch(16)

    def learned():
        model = specimens.build("functional")
        training = tfbackdoor.defenses.SharpnessAwareTraining(model, rho=1.0)
        training.compile(tfbackdoor.training.CoupledSGD(0.05))
        training.fit(data, verbose=0)
        return model.get_weights()

    alone = learned()
    with two_replicas.scope():
        together = learned()
    for a, b in zip(alone, together):
        np.testing.assert_allclose(a, b, atol=1e-5)


class _Spare(keras.layers.Layer):
    """Doubles, and holds a weight that it does not use."""

    def build(self, shape):
        self.used = self.add_weight(initializer="ones")
        self.spare = self.add_weight(shape=(3,))

    def call(self, inputs):
        return 2.0 * self.used * inputs


def test_a_weight_that_the_scores_do_not_use_is_left():
    model = keras.Sequential(
        [keras.Input((2, 2, 3)), keras.layers.Flatten(), _Spare()]
    )
    training = tfbackdoor.defenses.SharpnessAwareTraining(model, rho=1.0)
    training.compile(keras.optimizers.SGD(0.1))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 2, 2, 3)).astype("float32")
    before = model.get_weights()
    training.fit(x, np.arange(8), verbose=0)
    used, spare = model.get_weights()
    assert used != before[0]
    np.testing.assert_array_equal(spare, before[1])
