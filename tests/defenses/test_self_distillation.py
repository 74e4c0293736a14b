"""Accuracy won back after pruning, and backdoors unlearned on the way."""

import numpy as np
import planted
import pytest
import specimens

import tfbackdoor


@pytest.mark.parametrize(
    "name",
    ["functional", "sequential_softmax", "nested", "subclassed", "unscaled"],
)
def test_recovery_nears_the_original_and_holds_pruned_neurons(name):
    original = specimens.build(name)
    images, _ = specimens.batch(64)
    for _ in range(400):  # The moving statistics become those of the images.
        original(images, training=True)
    before = original.get_weights()
    pruned_classifier = tfbackdoor.copy_classifier(original)
    neurons, _ = tfbackdoor.find_neurons(original)
    masks = {group.layer: np.ones(group.count) for group in neurons}
    masks[neurons[0].layer][:2] = 0.0
    pruned = tfbackdoor.prune_neurons(pruned_classifier, masks, number=2)
    recovered = tfbackdoor.self_distill(
        pruned_classifier,
        original,
        tfbackdoor.training_batches(
            tfbackdoor.from_arrays(*specimens.batch(64)), 16, replacement=True
        ),
        pruned,
        steps=40,
        learning_rate=0.02,
        verbose=0,
    )

    def distance(classifier):
        return np.abs(classifier(images) - original(images)).mean()

    assert distance(recovered) < 0.8 * distance(pruned_classifier)
    for group in tfbackdoor.find_neurons(recovered)[0]:
        for variable, _ in group.zeroed:
            norms = np.abs(variable.numpy()).reshape(-1, group.count).sum(0)
            zero = np.flatnonzero(norms == 0.0)
            np.testing.assert_array_equal(zero, pruned[group.layer])
    assert pruned[neurons[0].layer].tolist() == [0, 1]
    for old, new in zip(before, original.get_weights()):
        np.testing.assert_array_equal(old, new)


def test_the_planted_backdoor_is_unlearned():
    original = planted.classifier()
    clean = planted.images(120)
    found = tfbackdoor.scan(original, clean, steps=150, verbose=0)
    batches = tfbackdoor.training_batches(clean, 64, replacement=True)

    def attack_success(triggers):
        recovered = tfbackdoor.self_distill(
            original, original, batches, {}, triggers=triggers, verbose=0
        )
        scores = tfbackdoor.evaluate(
            recovered, planted.images(120, seed=1), planted.attack()
        )
        assert scores.clean_accuracy.value >= 0.97
        return scores.attack_success.value

    # Nothing is unlearned where no trigger is given.
    assert attack_success(None) == 1.0
    assert attack_success(found.triggers.of(found.suspects)) <= 0.1
