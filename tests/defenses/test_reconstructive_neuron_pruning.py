import keras
import numpy as np
import pytest
import specimens

import tfbackdoor
from tfbackdoor.defenses import reconstructive_neuron_pruning
from tfbackdoor.defenses import rnp
from tfbackdoor.training import run_settings

_HIDDEN, _CLASSES = 5, 3


@pytest.fixture
def toy():
    """Weights of two layers, images of 4 pixels and labels, float64."""
    rng = np.random.default_rng(3)
    shapes = [(4, _HIDDEN), (_HIDDEN,), (_HIDDEN, _CLASSES), (_CLASSES,)]
    weights = [rng.normal(size=shape) for shape in shapes]
    return weights, rng.random((6, 4)), np.array([0, 1, 2, 0, 1, 1])


def _model(weights):
    model = keras.Sequential(
        [
            keras.Input((2, 2, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(_HIDDEN, activation="relu", name="hidden"),
            keras.layers.Dense(_CLASSES, name="head"),
        ]
    )
    model.set_weights(weights)
    return model


def _errors_and_hidden(weights, x, y, masks):
    """`(p - y) / n`, and the hidden neurons before and after the ReLU."""
    before = x @ (masks * weights[0]) + weights[1]
    hidden = np.maximum(before, 0.0)
    scores = hidden @ weights[2] + weights[3]
    p = np.exp(scores - scores.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    return (p - np.eye(_CLASSES)[y]) / len(y), before, hidden


def test_unlearning_goes_up_the_loss(toy, float64):
    rate, decay = 0.1, 1e-2
    weights, x, y = toy
    errors, before, hidden = _errors_and_hidden(weights, x, y, 1.0)
    back = (errors @ weights[2].T) * (before > 0.0)
    gradients = [x.T @ back, back.sum(0), hidden.T @ errors, errors.sum(0)]
    # Weight decay still shrinks: that part of the loss keeps its sign.
    expected = [w - rate * (-g + decay * w) for w, g in zip(weights, gradients)]
    model = _model(weights)
    training = tfbackdoor.defenses.NeuronUnlearning(model)
    training.compile(tfbackdoor.training.CoupledSGD(rate, l2=decay))
    history = training.fit(x.reshape(-1, 2, 2, 1), y, verbose=0).history
    for given, wanted in zip(model.get_weights(), expected):
        np.testing.assert_allclose(given, wanted, atol=1e-7)
    loss = np.log(errors[np.arange(6), y] * 6 + 1.0).mean()
    assert history["loss"] == [pytest.approx(loss, rel=1e-5)]


def test_recovery_learns_masks_of_the_scales_alone(toy, float64):
    alpha, rate, momentum = 0.2, 2.0, 0.9
    weights, x, y = toy
    masks, velocity = np.ones(_HIDDEN), np.zeros(_HIDDEN)
    for _ in range(3):
        errors, before, _ = _errors_and_hidden(weights, x, y, masks)
        back = (errors @ weights[2].T) * (before > 0.0)
        gradient = alpha * (back * (x @ weights[0])).sum(0)
        velocity = momentum * velocity + gradient
        masks = np.clip(masks - rate * velocity, 0.0, 1.0)
    model = _model(weights)
    recovery = tfbackdoor.defenses.NeuronRecovery(model, alpha=alpha)
    recovery.compile(
        tfbackdoor.training.CoupledSGD(rate, momentum=momentum),
        run_eagerly=True,
    )
    recovery.fit(x.reshape(-1, 2, 2, 1), y, epochs=3, verbose=0)
    given = recovery.neuron_masks()["hidden"]
    np.testing.assert_allclose(given, masks, atol=1e-7)
    assert masks.min() < 0.9 and masks.max() == 1.0
    for old, new in zip(weights, model.get_weights()):
        np.testing.assert_array_equal(old, new)


def test_unlearning_ends_where_accuracy_is_low_enough():
    model = specimens.build("functional")
    training = tfbackdoor.defenses.NeuronUnlearning(model)
    training.compile(tfbackdoor.training.CoupledSGD(0.05))
    stop = reconstructive_neuron_pruning.StopAtAccuracy(0.2)
    images, labels = specimens.batch(32)
    # Its own answers, so that it is right at first.
    labels = model.predict(images, verbose=0).argmax(1)
    accuracy = training.fit(
        images, labels, epochs=30, callbacks=[stop], verbose=0
    ).history["accuracy"]
    assert 1 < len(accuracy) < 30
    assert accuracy[-1] <= 0.2 < min(accuracy[:-1])


def test_two_replicas_learn_what_one_device_learns(two_replicas):
    data = tfbackdoor.from_arrays(*specimens.batch(32)).batch(16)

    # Unlearning is the training of a classifier, as test_replicas has it.
    def learned():
        recovery = tfbackdoor.defenses.NeuronRecovery(
            specimens.build("functional")
        )
        recovery.compile()
        recovery.fit(data, verbose=0)
        return list(recovery.neuron_masks().values())

    alone = learned()
    with two_replicas.scope():
        together = learned()
    for a, b in zip(alone, together):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert min(mask.min() for mask in alone) < 0.99


def test_the_original_is_pruned_by_the_given_threshold():
    classifier = specimens.build("functional")
    outcome = rnp.by_rnp(
        classifier,
        tfbackdoor.from_arrays(*specimens.batch(40)),
        run_settings.RunSettings(padding=1, verbose=0),
        unlearning_epochs=1,
        epochs=3,
        learning_rate=5.0,
        threshold=0.7,
    )
    assert outcome.details["threshold_chosen_by"] == "the user"
    count = 0
    for name, mask in outcome.found["masks"].items():
        before, after = (
            model.get_layer(name).get_weights()
            for model in (classifier, outcome.classifier)
        )
        np.testing.assert_array_equal(after[0], before[0] * (mask > 0.7))
        for old, new in zip(before[1:], after[1:]):
            np.testing.assert_array_equal(old, new)
        count += (mask <= 0.7).sum()
    assert count == sum(map(len, outcome.found["pruned"].values())) > 0


def test_config_round_trip():
    recovery = tfbackdoor.defenses.NeuronRecovery(
        specimens.build("functional"), alpha=0.5, precision="mixed_bfloat16"
    )
    copy = type(recovery).from_config(recovery.get_config())
    assert (copy.alpha, copy.precision) == (0.5, "mixed_bfloat16")


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="`alpha` must be > 0"):
        tfbackdoor.defenses.NeuronRecovery(
            specimens.build("functional"), alpha=0.0
        )
    with pytest.raises(ValueError, match="`accuracy` must lie in"):
        reconstructive_neuron_pruning.StopAtAccuracy(2.0)
