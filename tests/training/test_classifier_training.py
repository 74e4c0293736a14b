import gc

import keras
import numpy as np
import pytest
import specimens
import tensorflow as tf

import tfbackdoor
from tfbackdoor.defenses import fine_tuning
from tfbackdoor.network import compute_view
from tfbackdoor.network import layers


@pytest.mark.parametrize("name", specimens.NAMES)
@pytest.mark.parametrize("training", [False, True])
def test_a_view_computes_what_the_classifier_does(name, training):
    classifier = specimens.build(name)
    images, _ = specimens.batch()
    before = classifier.get_weights()
    outputs, _ = compute_view.ComputeView(classifier)(images, training=training)
    for old, new in zip(before, classifier.get_weights()):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_allclose(
        outputs, classifier(images, training=training), atol=1e-5
    )


@pytest.mark.parametrize("name", specimens.NAMES)
def test_a_view_in_bfloat16_nears_the_classifier(name):
    classifier = specimens.build(name)
    images, _ = specimens.batch()
    view = compute_view.ComputeView(classifier, "mixed_bfloat16")
    outputs, _ = view(images, training=False)
    assert keras.backend.standardize_dtype(outputs.dtype) == "float32"
    expected = classifier(images).numpy()
    # bfloat16 has 8 bits: 1/256 a rounding, a few roundings deep.
    np.testing.assert_allclose(
        outputs, expected, atol=0.03 * np.abs(expected).max()
    )


@pytest.mark.parametrize("name", ["functional", "sequential_softmax", "nested"])
def test_a_view_of_a_graph_runs_fused(name):
    view = compute_view.ComputeView(specimens.build(name))
    kinds = {type(x) for x in view.model._flatten_layers()}
    assert layers.FusedBatchNormalization in kinds
    assert keras.layers.BatchNormalization not in kinds


def test_a_view_takes_values_in_place_of_variables():
    classifier = specimens.build("functional")
    images, _ = specimens.batch()
    head = classifier.get_layer("head")
    view = compute_view.ComputeView(classifier)
    values = {id(head.kernel): tf.zeros_like(head.kernel.value)}
    outputs, _ = view(images, training=False, values=values)
    np.testing.assert_allclose(
        outputs, np.tile(head.bias.numpy(), (len(images), 1)), atol=1e-6
    )


def test_a_training_pass_reports_the_new_moving_statistics():
    classifier = specimens.build("functional")
    images, _ = specimens.batch()
    moving = classifier.get_layer("bn").moving_mean
    old = moving.numpy()
    view = compute_view.ComputeView(classifier)
    _, updates = view(images, training=True)
    (new,) = [value for variable, value in updates if variable is moving]
    classifier(images, training=True)
    np.testing.assert_array_equal(moving.numpy() == old, False)
    np.testing.assert_allclose(new, moving, atol=1e-6)


@pytest.mark.parametrize("name", specimens.NAMES)
def test_training_equals_keras_own(name):
    results = []
    for wrap in (True, False):
        classifier = specimens.build(name)
        if wrap:
            model = tfbackdoor.training.ClassifierTraining(classifier)
        else:
            model = classifier
        softmax = name in specimens.GIVE_PROBABILITIES
        model.compile(
            keras.optimizers.SGD(0.1),
            keras.losses.SparseCategoricalCrossentropy(from_logits=not softmax),
            run_eagerly=not wrap,
        )
        model.train_on_batch(*specimens.batch())
        results.append(
            {
                variable.path.split("/", 1)[-1]: variable.numpy()
                for variable in classifier.trainable_weights
            }
        )
    for path, value in results[0].items():
        np.testing.assert_allclose(value, results[1][path], atol=1e-5)


def test_training_lowers_the_loss_and_finds_softmax_by_itself():
    classifier = specimens.build("sequential_softmax")
    training = tfbackdoor.training.ClassifierTraining(classifier)
    training.compile(keras.optimizers.SGD(0.05))
    assert training.loss.get_config()["from_logits"] is False
    images = tfbackdoor.from_arrays(*specimens.batch(64)).batch(16)
    losses = training.fit(images, epochs=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def _graphs():
    """The graphs that something still holds."""
    keras.backend.clear_session()
    gc.collect()
    held = [x for x in gc.get_objects() if type(x).__name__ == "FuncGraph"]
    return len(held)


def test_a_fit_and_its_scores_leave_no_graph_behind():
    images = tfbackdoor.from_arrays(*specimens.batch(16))

    def fit():
        training = tfbackdoor.training.ClassifierTraining(
            specimens.build("functional")
        )
        training.compile(tfbackdoor.training.CoupledSGD(0.1))
        training.fit(images.batch(8), verbose=0)
        tfbackdoor.evaluate(training.classifier, images)

    fit()
    before = _graphs()
    fit()
    assert _graphs() == before


def test_two_replicas_train_the_weights_of_one(two_replicas):
    weights = []
    for strategy in (tf.distribute.get_strategy(), two_replicas):
        with strategy.scope():
            classifier = specimens.build("functional")
            training = tfbackdoor.training.ClassifierTraining(classifier)
            training.compile(tfbackdoor.training.CoupledSGD(0.05))
            images = tfbackdoor.from_arrays(*specimens.batch(48)).batch(16)
            history = training.fit(images, verbose=0).history
        weights.append([*classifier.get_weights(), history["loss"][0]])
    for one, two in zip(*weights):
        np.testing.assert_allclose(one, two, atol=1e-5)


def test_batch_statistics_are_of_all_replicas_or_of_each(two_replicas):
    """The mean of two halves' means is the mean of all; so is not their
    variance, which lacks the part between the halves."""
    kept = {}
    for synchronised in (True, False):
        with two_replicas.scope():
            classifier = specimens.build("functional")
            training = tfbackdoor.training.ClassifierTraining(
                classifier, synchronised=synchronised
            )
            training.compile(tfbackdoor.training.CoupledSGD(0.0))
            images, labels = specimens.batch(16)
            images[:8] *= 0.1  # The halves differ.
            data = tfbackdoor.from_arrays(images, labels).batch(16)
            training.fit(data, verbose=0)
        layer = next(
            layer
            for layer in classifier.layers
            if isinstance(layer, keras.layers.BatchNormalization)
        )
        kept[synchronised] = [
            layer.moving_mean.numpy(),
            layer.moving_variance.numpy(),
        ]
    np.testing.assert_allclose(kept[True][0], kept[False][0], atol=1e-5)
    assert (kept[True][1] > kept[False][1] + 1e-4).all()


def test_config_round_trip():
    training = tfbackdoor.training.ClassifierTraining(
        specimens.build("functional"), precision="mixed_bfloat16"
    )
    copy = tfbackdoor.training.ClassifierTraining.from_config(
        training.get_config()
    )
    assert copy.precision == "mixed_bfloat16"
    assert len(copy.classifier.layers) == len(training.classifier.layers)


def test_fine_tuning_keeps_the_best_epoch_and_the_original():
    classifier = specimens.build("functional")
    before = classifier.get_weights()
    clean = tfbackdoor.from_arrays(*specimens.batch(64)).batch(16)
    held_out = tfbackdoor.from_arrays(*specimens.batch(64, seed=7)).batch(64)
    tuned = tfbackdoor.fine_tune(
        classifier, clean, validation=held_out, epochs=4, verbose=0
    )
    for old, new in zip(before, classifier.get_weights()):
        np.testing.assert_array_equal(old, new)
    assert any((a != b).any() for a, b in zip(before, tuned.get_weights()))


def test_step_decay_refuses_factors_out_of_range():
    with pytest.raises(ValueError, match="`factor`"):
        fine_tuning.step_decay(factor=0.0)


@pytest.mark.parametrize("name", specimens.NAMES)
def test_copies_have_weights_of_their_own(name):
    classifier = specimens.build(name)
    copy = tfbackdoor.copy_classifier(classifier)
    images, _ = specimens.batch()
    expected = classifier(images).numpy()
    np.testing.assert_allclose(copy(images), expected, atol=1e-6)
    for variable in copy.weights:
        variable.assign(tf.zeros_like(variable.value))
    np.testing.assert_allclose(classifier(images), expected, atol=1e-6)
