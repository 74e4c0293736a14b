import keras
import numpy as np
import pytest
import specimens
import tensorflow as tf

import tfbackdoor
from tfbackdoor.network import classifiers

_SEED = tf.constant([0, 1])


def _loss(classifier, images, labels):
    scores = classifier(images, training=False)
    loss = classifiers.cross_entropy(classifiers.gives_logits(classifier))
    return float(loss(labels, scores))


@pytest.mark.parametrize("name", ["functional", "sequential_softmax"])
def test_images_stay_in_their_ball_and_lose_their_label(name):
    classifier = specimens.build(name)
    images, labels = specimens.batch()
    before = classifier.get_weights()
    attack = tfbackdoor.attacks.LinfPerturbation(
        classifier, epsilon=0.1, steps=5
    )
    perturbed = attack(tf.constant(images), labels, _SEED).numpy()
    assert np.abs(perturbed - images).max() <= 0.1 + 1e-6
    assert perturbed.min() >= 0.0 and perturbed.max() <= 1.0
    assert _loss(classifier, perturbed, labels) > _loss(
        classifier, images, labels
    )
    for old, new in zip(before, classifier.get_weights()):
        np.testing.assert_array_equal(old, new)


def test_a_linear_classifier_is_left_by_the_shortest_way():
    # Two logits w0.x and w1.x: of label 0 the loss grows along w1 - w0, and
    # the farthest point of the ball is its corner epsilon * sign(w1 - w0).
    model = keras.Sequential(
        [
            keras.Input((2, 2, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(2, use_bias=False),
        ]
    )
    kernel = np.float32([[1, 2], [3, -1], [0, 4], [2, 1]])
    model.layers[-1].set_weights([kernel])
    images = np.full((1, 2, 2, 1), 0.5, "float32")
    attack = tfbackdoor.attacks.LinfPerturbation(model, epsilon=0.25, steps=10)
    perturbed = attack(tf.constant(images), np.array([0]), _SEED)
    np.testing.assert_allclose(
        np.ravel(perturbed), [0.75, 0.25, 0.75, 0.25], atol=1e-6
    )


def test_only_the_chosen_images_are_perturbed():
    classifier = specimens.build("functional")
    images, labels = specimens.batch()
    attack = tfbackdoor.attacks.LinfPerturbation(
        classifier, epsilon=0.1, steps=2
    )
    dataset = tfbackdoor.from_arrays(images, labels)
    indices = np.array([1, 4, 5, 11, 15])
    perturbed = tfbackdoor.attacks.perturb_images(
        dataset, indices, attack, batch_size=2
    )
    new_images, new_labels = next(iter(perturbed.batch(16)))
    np.testing.assert_array_equal(new_labels, labels)
    moved = np.abs(new_images - images).max(axis=(1, 2, 3))
    np.testing.assert_array_equal(np.flatnonzero(moved), indices)
    assert moved.max() <= 0.1 + 1e-6


def test_a_negative_radius_is_refused():
    with pytest.raises(ValueError, match="`epsilon`"):
        tfbackdoor.attacks.LinfPerturbation(
            specimens.build("functional"), epsilon=-1.0
        )
