"""Settings from the classifier and clean images alone."""

import math

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor.data import augmentation
from tfbackdoor.defenses import perturbed_answers
from tfbackdoor.network import classifiers

_RANGE = (0.01, 1.0)
_BISECTIONS = 6
_BORNE_DROP = 0.1
_LARGEST_CROP = 8
_CROPPED_AT_ONCE = 64


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
    probe = perturbed_answers.PerturbedAnswers(
        classifier, seed=seed, precision=precision
    )
    return find_epsilon(probe, clean, loss_in_classes)


def find_epsilon(
    probe: perturbed_answers.PerturbedAnswers,
    clean: tf.data.Dataset,
    loss_in_classes: float = 2.0,
    *,
    count: int = 2,
) -> float:
    """As `choose_epsilon`, by a probe that may be used for more.

    Args:
        probe: of the classifier.
        clean, loss_in_classes: see `choose_epsilon`.
        count: int > 0, batches that tell the loss.
    """
    classes = classifiers.class_count(probe.classifier)
    wanted = loss_in_classes * math.log(classes)
    batches = clean.take(count).cache()
    low, high = _RANGE
    for _ in range(_BISECTIONS):
        epsilon = math.sqrt(low * high)
        if probe.answer(batches, epsilon).loss < wanted:
            low = epsilon
        else:  # Or not a number: far too much.
            high = epsilon
    return round(math.sqrt(low * high), 3)


def choose_augmentation(
    classifier: keras.Model,
    clean: tf.data.Dataset,
    *,
    flip: bool | None = None,
    padding: int | None = None,
    seed: int = 0,
) -> tuple[bool, int]:
    """The mirroring and cropping that a classifier tolerates.

    Borne is what costs at most 10 points of accuracy: a classifier of digits
    or traffic signs does not tolerate mirroring.

    Args:
        classifier: built Keras classifier; it is not changed.
        clean: unbatched data set of clean `(image, label)` in [0, 1].
        flip: bool to keep, or None to choose.
        padding: int to keep, or None to choose: an eighth of the height, or
            half of that and so on.
        seed: int, of the crops.

    Returns:
        The pair of flip and padding, in pixels, as `augment` takes them.
    """

    def accuracy(changed):
        answers, labels = classifiers.answers_of(classifier, changed)
        return np.mean(answers == labels)

    def crops(padding):
        batches = clean.batch(_CROPPED_AT_ONCE)
        return augmentation.augment(
            batches, padding=padding, flip=False, seed=seed
        ).unbatch()

    least = accuracy(clean) - _BORNE_DROP
    if flip is None:
        mirrored = clean.map(lambda image, y: (tf.reverse(image, [1]), y))
        flip = bool(accuracy(mirrored) >= least)
    if padding is None:
        padding = clean.element_spec[0].shape[0] // _LARGEST_CROP
        while padding and accuracy(crops(padding)) < least:
            padding //= 2
    return flip, padding
