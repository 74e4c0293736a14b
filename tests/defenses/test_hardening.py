import keras
import numpy as np
import planted
import pytest
import specimens
import tensorflow as tf

import tfbackdoor
from tfbackdoor.data import perturbation
from tfbackdoor.defenses import harden
from tfbackdoor.defenses import hardening
from tfbackdoor.defenses import strength
from tfbackdoor.training import run_settings


def _linear(seed, activation=None):
    """Class scores that are a linear function of 12 pixels."""
    model = keras.Sequential(
        [
            keras.Input((2, 2, 3)),
            keras.layers.Flatten(),
            keras.layers.Dense(4, activation=activation),
        ]
    )
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    return model


def _softmax(scores):
    shares = np.exp(scores - scores.max(1, keepdims=True))
    return shares / shares.sum(1, keepdims=True)


def _scores(weights, x):
    kernel, bias = weights
    return x @ kernel + bias


def _halved(images, seed):
    return images / 2.0


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_a_step_asks_for_the_teachers_answer_to_the_untouched_image(
    monkeypatch, activation
):
    rho, rate, label_share, smoothing = 0.5, 0.1, 0.3, 0.2
    monkeypatch.setattr(perturbation, "perturb_randomly", _halved)
    student, teacher = _linear(1), _linear(2, activation)
    rng = np.random.default_rng(0)
    images = rng.random((8, 2, 2, 3)).astype("float32")
    labels = rng.integers(0, 4, 8)
    weights = [w.astype("float64") for w in student.get_weights()]
    x = images.reshape(8, -1).astype("float64")
    # What is wanted of the untouched images.
    wanted = (1 - label_share) * _softmax(_scores(teacher.get_weights(), x))
    wanted += label_share * (
        (1 - smoothing) * np.eye(4)[labels] + smoothing / 4
    )

    def gradients(at):
        error = (_softmax(_scores(at, x / 2)) - wanted) / 8
        return [(x / 2).T @ error, error.sum(0)]

    g = gradients(weights)
    norm = np.sqrt(
        sum(((np.abs(w) * d) ** 2).sum() for w, d in zip(weights, g))
    )
    moved = [w + rho * w**2 * d / norm for w, d in zip(weights, g)]
    expected = [w - rate * d for w, d in zip(weights, gradients(moved))]
    training = hardening.Hardening(
        student,
        teacher,
        rho=rho,
        label_share=label_share,
        smoothing=smoothing,
    )
    training.compile(tfbackdoor.training.CoupledSGD(rate, momentum=0.0))
    training.fit(images, labels, batch_size=8, verbose=0)
    for given, want in zip(student.get_weights(), expected):
        np.testing.assert_allclose(given, want, atol=1e-5)


def test_what_it_learned_without_a_difference_is_nothing(monkeypatch):
    monkeypatch.setattr(perturbation, "perturb_randomly", lambda x, seed: x)
    student = _linear(1)
    before = student.get_weights()
    training = hardening.Hardening(
        student, _linear(1), rho=0.0, label_share=0.0
    )
    training.compile(tfbackdoor.training.CoupledSGD(0.1))
    images = np.random.default_rng(0).random((8, 2, 2, 3)).astype("float32")
    training.fit(images, np.zeros(8), batch_size=8, verbose=0)
    for old, new in zip(before, student.get_weights()):
        np.testing.assert_allclose(old, new, atol=1e-6)


def test_two_replicas_learn_what_one_device_learns(two_replicas, monkeypatch):
    monkeypatch.setattr(perturbation, "perturb_randomly", _halved)
    data = tfbackdoor.from_arrays(*specimens.batch(32)).batch(16)
    teacher = specimens.build("functional")

    def learned():
        model = specimens.build("functional")
        model.set_weights([0.9 * w for w in model.get_weights()])
        training = hardening.Hardening(model, teacher, rho=1.0)
        training.compile(tfbackdoor.training.CoupledSGD(0.05))
        training.fit(data, verbose=0)
        return model.get_weights()

    alone = learned()
    with two_replicas.scope():
        together = learned()
    for a, b in zip(alone, together):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_config_round_trip():
    training = hardening.Hardening(
        _linear(1), _linear(2), rho=8.0, label_share=0.4, smoothing=0.3, seed=7
    )
    copy = type(training).from_config(training.get_config())
    settings = (copy.rho, copy.label_share, copy.smoothing, copy.seed)
    assert settings == (8.0, 0.4, 0.3, 7)


@pytest.mark.parametrize("name", ["label_share", "smoothing"])
def test_shares_outside_their_range_are_refused(name):
    with pytest.raises(ValueError, match=f"`{name}` must lie in"):
        hardening.Hardening(_linear(1), _linear(2), **{name: 1.5})


def test_gentler_rates_where_even_the_weakest_costs_too_much(monkeypatch):
    rates_tried = []

    def ruin_at_high_rates(classifier, sets, run, *, learning_rate, **_):
        rates_tried.append(learning_rate)
        factor = -9.0 if learning_rate > 1e-3 else 1.0
        return [[factor * w for w in classifier.get_weights()] for _ in sets]

    monkeypatch.setattr(harden, "harden", ruin_at_high_rates)
    hardened = harden.harden_within(
        planted.classifier(),
        planted.images(60),
        run_settings.RunSettings(verbose=0),
        learning_rate=0.05,
    )
    np.testing.assert_allclose(rates_tried, [0.05, 0.005, 5e-4])
    assert hardened.learning_rate == pytest.approx(5e-4)
    assert hardened.share == 1.0
    assert "Hardened at strength 1 of 1" in str(hardened)


@pytest.mark.parametrize(
    ("most", "taken"), [(1.0, 1.0), (0.5, 0.5), (0.45, 0.45), (0.1, 0.1)]
)
def test_strength_has_a_limit_at_the_full_rate(monkeypatch, most, taken):
    def harden_nothing(classifier, sets, *_, **__):
        return [classifier.get_weights() for _ in sets]

    monkeypatch.setattr(harden, "harden", harden_nothing)
    hardened = harden.harden_within(
        planted.classifier(),
        planted.images(60),
        run_settings.RunSettings(verbose=0),
        max_strength=most,
    )
    assert hardened.share == taken


def test_what_is_hardened_is_the_mean_of_the_folds(monkeypatch):
    def harden_to(classifier, sets, run, *, steps, **_):
        assert steps == 15 and len(sets) == 2
        weights = classifier.get_weights()
        return [[np.full_like(w, value) for w in weights] for value in (2, 4)]

    monkeypatch.setattr(harden, "harden", harden_to)
    monkeypatch.setattr(strength, "strongest", lambda *_: 0.5)
    classifier = planted.classifier()
    hardened = harden.harden_within(
        classifier,
        planted.images(60),
        run_settings.RunSettings(verbose=0),
        steps=30,
    )
    for before, after in zip(
        classifier.get_weights(), hardened.classifier.get_weights()
    ):
        np.testing.assert_allclose(after, 0.5 * before + 1.5, atol=1e-6)


def test_each_set_of_images_begins_from_the_classifier_before():
    run = run_settings.RunSettings(verbose=0)
    images = planted.images(60)
    classifier = planted.classifier()
    first, second = harden.harden(classifier, [images, images], run, steps=3)
    for before, a, b in zip(classifier.get_weights(), first, second):
        np.testing.assert_array_equal(a, b)
        assert before.size == 1 or np.any(a != before)


def test_a_classifier_that_tolerates_no_hardening_is_left_as_it_is(monkeypatch):
    def ruin(classifier, sets, *_, **__):
        return [[-9.0 * w for w in classifier.get_weights()] for _ in sets]

    def diverge(*_, **__):
        raise tfbackdoor.training.TrainingDivergedError("NaN")

    classifier, run = planted.classifier(), run_settings.RunSettings(verbose=0)
    for fail, words in ((ruin, "it costs"), (diverge, "training diverged")):
        monkeypatch.setattr(harden, "harden", fail)
        hardened = harden.harden_within(classifier, planted.images(60), run)
        assert hardened.share == 0.0 and words in str(hardened)
        for old, new in zip(
            classifier.get_weights(), hardened.classifier.get_weights()
        ):
            np.testing.assert_array_equal(old, new)


def test_images_are_perturbed_anew_at_every_step():
    seen = []

    class Watched(hardening.Hardening):
        def prepare(self, images, labels):
            images, wanted = super().prepare(images, labels)
            tf.py_function(lambda x: seen.append(x.numpy()), [images], [])
            return images, wanted

    training = Watched(_linear(1), _linear(2), rho=0.0)
    training.compile(tfbackdoor.training.CoupledSGD(0.0))
    images = np.full((16, 2, 2, 3), 0.5, "float32")
    data = tf.data.Dataset.from_tensors((images, np.zeros(16))).repeat(3)
    training.fit(data, verbose=0)
    assert len(seen) == 3
    assert np.any(seen[0] != seen[1]) and np.any(seen[1] != seen[2])
