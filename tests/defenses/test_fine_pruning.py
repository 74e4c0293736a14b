import keras
import numpy as np
import planted
import pytest
import specimens

import tfbackdoor
from tfbackdoor.defenses import fine_pruning


def _images(count=40):
    return tfbackdoor.from_arrays(*specimens.batch(count))


def _output(classifier, layer, images):
    tapped = keras.Model(
        classifier.inputs[0], classifier.get_layer(layer).output
    )
    return tapped(images, training=False).numpy()


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        # The normalisation of the last convolution, where one follows.
        ("functional", "bn3"),
        ("without_normalisation", "conv2"),
        ("unscaled", "bn2"),
        ("kernels", "transposed"),
        ("other_normalisations", "layer_norm"),
        # The last convolution, though a dense layer with neurons follows.
        ("sequential_softmax", "bn"),
    ],
)
def test_activation_is_the_mean_of_what_a_relu_lets_through(name, layer):
    classifier = specimens.build(name)
    assert fine_pruning.last_convolution(classifier).layer == layer
    images, _ = specimens.batch(40)
    expected = np.maximum(_output(classifier, layer, images), 0.0)
    given = tfbackdoor.defenses.mean_activations(classifier, _images())
    np.testing.assert_allclose(given, expected.mean((0, 1, 2)), rtol=1e-4)


def test_any_layer_with_neurons_can_be_ranked():
    classifier = specimens.build("sequential_softmax")
    images, _ = specimens.batch(40)
    given = tfbackdoor.defenses.mean_activations(
        classifier, _images(), "hidden"
    )
    expected = _output(classifier, "hidden", images).mean(0)
    np.testing.assert_allclose(given, expected, rtol=1e-4)
    with pytest.raises(ValueError, match="`layer`.*'bn', 'hidden'.*'head'"):
        tfbackdoor.defenses.mean_activations(classifier, _images(), "head")


@pytest.mark.parametrize("name", specimens.NAMES)
def test_the_least_active_channels_are_cut_and_nothing_else(name):
    classifier = specimens.build(name)
    before = classifier.get_weights()
    images, _ = specimens.batch(40)
    labels = np.argmax(classifier(images), axis=1)
    clean = tfbackdoor.from_arrays(images, labels)
    found = tfbackdoor.defenses.prune_dormant(
        classifier, clean, clean, max_accuracy_drop=1.0
    )
    group = fine_pruning.last_convolution(classifier)
    order = np.argsort(tfbackdoor.defenses.mean_activations(classifier, clean))
    count = found.chosen.pruned
    assert 1 <= count < group.count
    assert found.layer == group.layer
    assert found.pruned[group.layer].tolist() == sorted(order[:count])
    assert sum(map(len, found.pruned.values())) == count
    for old, new in zip(before, classifier.get_weights()):
        np.testing.assert_array_equal(old, new)
    masks = {
        other.layer: np.ones(other.count)
        for other in tfbackdoor.find_neurons(classifier)[0]
    }
    masks[group.layer][order[:count]] = 0.0
    tfbackdoor.prune_neurons(classifier, masks, threshold=0.0)
    for old, new in zip(
        classifier.get_weights(), found.classifier.get_weights()
    ):
        np.testing.assert_array_equal(old, new)


def test_pruning_ends_where_held_out_accuracy_leaves_its_budget():
    classifier, clean = planted.classifier(), planted.images(120)
    # Dormant is the neuron of the backdoor; each further one is a class, of
    # six: a sixth of the accuracy, but that of class 0, the answer to nothing.
    for drop, allowed in ((0.1, {1, 2}), (0.2, {2, 3}), (0.4, {3, 4})):
        found = tfbackdoor.defenses.prune_dormant(
            classifier, clean, planted.images(120, 1), max_accuracy_drop=drop
        )
        assert found.chosen.pruned in allowed
        assert 6 in found.pruned["hidden"]
        least = found.curve[0].scores.clean_accuracy.value - drop
        assert found.chosen.scores.clean_accuracy.value >= least
        following = found.curve[found.chosen.pruned + 1]
        assert following.pruned == found.chosen.pruned + 1
        assert following.scores.clean_accuracy.value < least


@pytest.mark.parametrize(
    "name", ["functional", "unscaled", "without_normalisation"]
)
def test_pruned_channels_stay_zero_while_fine_tuned(name):
    classifier = specimens.build(name)
    found = tfbackdoor.defenses.prune_dormant(
        classifier, _images(), _images(), max_accuracy_drop=1.0
    )
    tuned = tfbackdoor.fine_tune(
        found.classifier,
        _images().batch(8),
        epochs=2,
        optimizer=tfbackdoor.training.CoupledSGD(0.01),
        pruned=found.pruned,
        verbose=0,
    )
    for group in tfbackdoor.find_neurons(tuned)[0]:
        for variable, _ in group.zeroed:
            norms = np.abs(variable.numpy()).reshape(-1, group.count).sum(0)
            zero = np.flatnonzero(norms == 0.0)
            np.testing.assert_array_equal(zero, found.pruned[group.layer])
    moved = [
        np.abs(old - new).max()
        for old, new in zip(found.classifier.get_weights(), tuned.get_weights())
    ]
    assert max(moved) > 1e-3
