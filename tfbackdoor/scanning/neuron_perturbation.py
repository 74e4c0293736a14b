"""Where a classifier's errors gather when its neurons are perturbed."""

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor.defenses import perturbed_answers

_DRAWS = 24


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
        clean: endless batched data set of clean `(images, labels)` in [0, 1];
            many small ones tell more than a few large ones.
        epsilon: float > 0, such as `choose_epsilon` gives.
        seed: int, start of the perturbations.
        precision: of the forward passes, see `ComputeView`.

    Returns:
        `(classes,)` floats that add up to 1, over 24 batches with a
        perturbation each; zeros where no answer is wrong.
    """
    probe = perturbed_answers.PerturbedAnswers(
        classifier, seed=seed, precision=precision
    )
    return find_error_shares(probe, clean, epsilon)


def find_error_shares(
    probe: perturbed_answers.PerturbedAnswers,
    clean: tf.data.Dataset,
    epsilon: float,
) -> np.ndarray:
    """As `error_shares`, by a probe that may be used for more."""
    mistaken = probe.answer(clean.take(_DRAWS), epsilon).mistaken
    return mistaken / max(mistaken.sum(), 1)
