"""Settings of ANP from the classifier and clean images alone."""

import math

import keras
import tensorflow as tf

from tfbackdoor import classifiers
from tfbackdoor import optimizers
from tfbackdoor.defenses import anp

_RANGE = (0.01, 1.0)
_BISECTIONS = 6
_BATCHES = 2


def choose_epsilon(
    classifier: keras.Model,
    clean: tf.data.Dataset,
    *,
    loss_in_classes: float = 2.0,
    seed: int = 0,
    precision: str | None = None,
) -> float:
    """The perturbation that makes a classifier about this much worse.

    ANP needs a perturbation that misleads the network without destroying it;
    the paper's 0.4 suits a wide ResNet-18 and is far too much for a small
    network. This finds, by bisection, the epsilon at which the loss under
    ANP's perturbation is `loss_in_classes * log(classes)`, a multiple of what
    guessing costs.

    Args:
        classifier: built Keras classifier; it is not changed.
        clean: endless batched data set of clean `(images, labels)` in [0, 1].
        loss_in_classes: float > 0.
        seed: int, of the perturbations.
        precision: of the forward passes, see `ComputeView`.

    Returns:
        epsilon in [0.01, 1].
    """
    wanted = loss_in_classes * math.log(classifiers.class_count(classifier))
    probe = anp.AdversarialNeuronPruning(
        classifier, seed=seed, precision=precision
    )
    probe.compile(optimizers.CoupledSGD(0.0), run_eagerly=True)
    batches = clean.take(_BATCHES).cache()
    low, high = _RANGE
    for _ in range(_BISECTIONS):
        probe.epsilon = math.sqrt(low * high)
        loss = probe.fit(batches, verbose=0).history["perturbed_loss"][-1]
        if loss < wanted:
            low = probe.epsilon
        else:  # Or not a number: far too much.
            high = probe.epsilon
    return round(math.sqrt(low * high), 3)
