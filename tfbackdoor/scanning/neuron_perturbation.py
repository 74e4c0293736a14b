"""Where a classifier's errors gather when its neurons are perturbed."""

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor.defenses import adversarial_neuron_pruning
from tfbackdoor.network import classifiers

_DRAWS = 6


def error_shares(
    classifier: keras.Model,
    clean: tf.data.Dataset,
    epsilon: float,
    *,
    seed: int = 0,
    precision: str | None = None,
) -> np.ndarray:
    """How the wrong answers under ANP's perturbation fall on the classes.

    A backdoored classifier is easily turned to its target: under adversarial
    neuron perturbation its errors gather there (Wu & Wang 2021, section 3.2).

    Args:
        classifier: built Keras classifier; it is not changed.
        clean: endless batched data set of clean `(images, labels)` in [0, 1].
        epsilon: float > 0, such as `choose_epsilon` gives.
        seed: int, start of the perturbations.
        precision: of the forward passes, see `ComputeView`.

    Returns:
        `(classes,)` floats that add up to 1, over 6 batches with a
        perturbation each; zeros where no answer is wrong.
    """
    anp = adversarial_neuron_pruning.AdversarialNeuronPruning(
        classifier, epsilon=epsilon, precision=precision
    )
    anp.compile()
    # All replicas see the same batches, so that any number finds the same.
    strategy = tf.distribute.get_strategy()
    wrong = np.zeros(classifiers.class_count(classifier))
    for draw, (images, labels) in enumerate(clean.take(_DRAWS)):
        anp.seed = seed + draw
        scores = strategy.run(anp.perturbed_scores, (images, labels))
        first, *_ = strategy.experimental_local_results(scores)
        answers = np.argmax(first, axis=1)
        mistaken = answers[answers != labels.numpy()]
        wrong += np.bincount(mistaken, minlength=len(wrong))
    return wrong / max(wrong.sum(), 1.0)
