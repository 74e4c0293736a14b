import keras
import numpy as np
import pytest
import specimens
import tensorflow as tf

import tfbackdoor
from tfbackdoor.defenses import bezier_curve


def _images(count=48):
    return tfbackdoor.from_arrays(*specimens.batch(count))


def _ends(name="functional"):
    """Two classifiers of one architecture with other weights."""
    start, end = specimens.build(name), specimens.build(name)
    rng = np.random.default_rng(5)
    for variable in end.weights:
        if "seed" not in variable.path:
            noise = rng.uniform(0.0, 0.3, variable.shape)
            variable.assign(variable.numpy() + noise)
    return start, end


def _curve(name="functional", **settings):
    curve = tfbackdoor.defenses.BezierCurve(*_ends(name), **settings)
    curve.compile(tfbackdoor.training.CoupledSGD(0.05, momentum=0.0))
    return curve


@pytest.mark.parametrize("name", ["functional", "nested", "subclassed"])
def test_points_lie_on_the_bezier_curve(name):
    start, end = _ends(name)
    curve = tfbackdoor.defenses.BezierCurve(start, end)
    # The middle point starts half-way, where the curve is a line.
    for a, m, b in zip(
        start.get_weights(), curve.middle.get_weights(), end.get_weights()
    ):
        np.testing.assert_allclose(m, (a + b) / 2.0, atol=1e-6)
    rng = np.random.default_rng(6)
    middle = [rng.random(w.shape) for w in curve.middle.get_weights()]
    curve.middle.set_weights(middle)
    for t in (0.0, 0.3, 1.0):
        point = curve.classifier_at(t)
        for a, m, b, given in zip(
            start.get_weights(), middle, end.get_weights(), point.get_weights()
        ):
            expected = (1 - t) ** 2 * a + 2 * t * (1 - t) * m + t**2 * b
            np.testing.assert_allclose(given, expected, atol=1e-6)
    images, _ = specimens.batch()
    for t, classifier in ((0.0, start), (1.0, end)):
        np.testing.assert_allclose(
            curve.classifier_at(t)(images), classifier(images), atol=1e-5
        )


def test_a_step_moves_the_middle_point_by_its_share_of_the_gradient():
    curve = _curve(l2=0.1, seed=3)
    start, end = (model.get_weights() for model in (curve.start, curve.end))
    before = [v.numpy() for v in curve.middle.trainable_weights]
    images, labels = specimens.batch(16)
    # The first draw of the curve's seed.
    t = float(tf.random.stateless_uniform([], [3, 0]))
    point = curve.classifier_at(t)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with tf.GradientTape() as tape:
        value = loss(labels, point(images, training=True))
    gradients = tape.gradient(value, point.trainable_weights)
    weights = [v.numpy() for v in point.trainable_weights]
    history = curve.fit(
        tfbackdoor.from_arrays(images, labels).batch(16), verbose=0
    )
    decay = 0.05 * sum(np.sum(w**2) for w in weights)
    np.testing.assert_allclose(
        history.history["loss"][0], float(value) + decay, rtol=1e-4
    )
    # d phi / d middle = 2 t (1 - t), and the learning rate is 0.05.
    share = 0.05 * 2.0 * t * (1.0 - t)
    for variable, old, gradient, weight in zip(
        curve.middle.trainable_weights, before, gradients, weights
    ):
        expected = old - share * (gradient.numpy() + 0.1 * weight)
        np.testing.assert_allclose(variable, expected, atol=2e-5)
    for model, weights in ((curve.start, start), (curve.end, end)):
        for old, new in zip(weights, model.get_weights()):
            np.testing.assert_array_equal(old, new)


def test_training_lowers_the_loss_between_the_ends():
    curve = _curve(l2=0.0)
    images, _ = specimens.batch(48)
    labels = np.argmax(curve.start(images), axis=1)
    data = tfbackdoor.from_arrays(images, labels)
    history = curve.fit(data.batch(16), epochs=10, verbose=0).history["loss"]
    assert np.mean(history[-3:]) < 0.8 * history[0]


@pytest.mark.parametrize("name", ["functional", "unscaled", "subclassed"])
def test_statistics_of_a_point_are_those_of_the_clean_images(name):
    curve = _curve(name)
    images, labels = specimens.batch(32)
    batches = tfbackdoor.from_arrays(images, labels).batch(16)
    point = curve.classifier_at(0.4, batches)
    convolution, bn = (point.get_layer(layer) for layer in ("conv", "bn"))
    convolved = [
        convolution(part).numpy() for part in (images[:16], images[16:])
    ]
    means = [x.mean((0, 1, 2)) for x in convolved]
    np.testing.assert_allclose(bn.moving_mean, np.mean(means, 0), atol=1e-4)
    # Unbiased on the fused kernel, biased in a model that is not cloned.
    ddof = 0 if name == "subclassed" else 1
    count = convolved[0].shape[-1]
    variances = [x.reshape(-1, count).var(0, ddof=ddof) for x in convolved]
    np.testing.assert_allclose(
        bn.moving_variance, np.mean(variances, 0), rtol=1e-3
    )


def test_a_frozen_normalisation_keeps_its_statistics_on_request():
    start, end = _ends()
    for model in (start, end):
        model.get_layer("bn").trainable = False
    curve = tfbackdoor.defenses.BezierCurve(start, end, train_frozen=False)
    point = curve.classifier_at(0.5, _images().batch(16))
    for name in ("bn", "bn2"):
        kept = curve.middle.get_layer(name).moving_mean.numpy()
        moved = np.abs(point.get_layer(name).moving_mean - kept).max()
        assert (moved == 0.0) == (name == "bn")


def test_curve_is_read_as_its_points_score():
    curve = _curve()
    scores = tfbackdoor.defenses.read_curve(
        curve, _images(), _images(), points=(0, 0.7)
    )
    assert list(scores) == [0, 0.7]
    for t, row in scores.items():
        point = curve.classifier_at(t, _images().batch(256))
        assert row == tfbackdoor.evaluate(point, _images())


@pytest.mark.parametrize(
    ("correct", "chosen"),
    [
        ({0.1: 95, 0.4: 94, 0.5: 93, 0.9: 96}, 0.5),
        ({0.1: 95, 0.4: 93, 0.5: 80, 0.9: 96}, 0.4),
        ({0.1: 97, 0.5: 80, 0.9: 96}, 0.1),  # Equally far: the better one.
    ],
)
def test_the_point_farthest_from_both_ends_within_the_budget(correct, chosen):
    scores = {
        t: tfbackdoor.Scores(tfbackdoor.Rate(count, 100))
        for t, count in correct.items()
    }
    assert (
        tfbackdoor.defenses.choose_point(scores, max_accuracy_drop=0.03)
        == chosen
    )


def test_learning_rate_falls_between_half_and_nine_tenths():
    schedule = bezier_curve.learning_rate_schedule(10).schedule
    rates = []
    for epoch in range(10):
        rates.append(schedule(epoch, rates[-1] if rates else 0.1))
    expected = [0.1] * 5 + [0.07525, 0.0505, 0.02575, 0.001, 0.001]
    np.testing.assert_allclose(rates, expected, rtol=1e-6)


def test_two_replicas_train_the_curve_of_one(two_replicas):
    weights = []
    for strategy in (tf.distribute.get_strategy(), two_replicas):
        with strategy.scope():
            curve = _curve()
            history = curve.fit(_images().batch(16), verbose=0)
            point = curve.classifier_at(0.5, _images().batch(16))
        weights.append([*point.get_weights(), history.history["loss"][0]])
    for one, two in zip(*weights):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)


def test_config_round_trip():
    curve = _curve(l2=0.2, seed=7)
    copy = tfbackdoor.defenses.BezierCurve.from_config(curve.get_config())
    assert (copy.l2, copy.seed) == (0.2, 7)
    assert copy.end.count_params() == curve.end.count_params()


def test_what_is_out_of_range_is_refused():
    start, end = _ends()
    with pytest.raises(ValueError, match="`end` must be of the architecture"):
        tfbackdoor.defenses.BezierCurve(start, specimens.build("nested"))
    with pytest.raises(ValueError, match="`l2`"):
        tfbackdoor.defenses.BezierCurve(start, end, l2=-1.0)
    with pytest.raises(ValueError, match="`t` must lie"):
        tfbackdoor.defenses.BezierCurve(start, end).classifier_at(1.1)
    with pytest.raises(ValueError, match="`max_accuracy_drop`"):
        tfbackdoor.defenses.choose_point({}, max_accuracy_drop=2.0)
