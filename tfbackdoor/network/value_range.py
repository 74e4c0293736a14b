"""Which range of pixel values a classifier was trained on."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor import rates
from tfbackdoor.network import classifiers

# From name to what [0, 1] is multiplied by, then increased by.
RANGES = {
    "[0, 1]": (1.0, 0.0),
    "[0, 255]": (255.0, 0.0),
    "[-1, 1]": (2.0, -1.0),
}
_TRIED_IMAGES = 500
_CLEARLY_BETTER = 0.05


@dataclasses.dataclass(frozen=True)
class ValueRange:
    """The range of pixel values that a classifier takes.

    Args:
        name: a key of `RANGES`.
        accuracies: from each range to the clean accuracy that it gives.
    """

    name: str
    accuracies: dict[str, rates.Rate]

    def adapt(self, classifier: keras.Model) -> keras.Model:
        """A classifier of images in [0, 1] that shares all its weights."""
        factor, summand = RANGES[self.name]
        if (factor, summand) == (1.0, 0.0):
            return classifier
        return keras.Sequential(
            [
                keras.Input(classifiers.image_shape(classifier)),
                keras.layers.Rescaling(factor, summand),
                classifier,
            ]
        )

    def restore(self, adapted: keras.Model) -> keras.Model:
        """The classifier of its own range inside of an adapted one."""
        return adapted if self.name == "[0, 1]" else adapted.layers[-1]


def find_value_range(
    classifier: keras.Model, clean: tf.data.Dataset
) -> ValueRange:
    """The range under which a classifier answers clean images best.

    Args:
        classifier: built Keras classifier.
        clean: unbatched data set of clean `(image, label)` in [0, 1].

    Raises:
        ValueError: where accuracy is no better than chance under each range;
            the message says what each gives, and whether the classes are told
            apart in another order than that of the labels.
    """
    images, labels = next(iter(clean.take(_TRIED_IMAGES).batch(_TRIED_IMAGES)))
    predictions = {
        name: classifiers.predicted_classes(
            classifier, factor * images + summand
        )
        for name, (factor, summand) in RANGES.items()
    }
    labels = labels.numpy()
    accuracies = {
        name: rates.Rate(int((predicted == labels).sum()), len(labels))
        for name, predicted in predictions.items()
    }
    best = max(accuracies, key=lambda name: accuracies[name].value)
    _check_above_chance(accuracies, best, labels, predictions)
    gain = accuracies[best].value - accuracies["[0, 1]"].value
    return ValueRange(best if gain > _CLEARLY_BETTER else "[0, 1]", accuracies)


def _check_above_chance(accuracies, best, labels, predictions):
    chance = np.bincount(labels).max() / len(labels)
    if accuracies[best].interval[0] > chance:
        return
    tried = ", ".join(
        f"{100 * rate.value:.1f} % with pixels in {name}"
        for name, rate in accuracies.items()
    )
    reordered = max(
        _accuracy_in_another_order(predicted, labels)
        for predicted in predictions.values()
    )
    hint = (
        f" In another order of the labels it would be {100 * reordered:.1f} %: "
        "are they numbered as in training?"
        if reordered > 2.0 * chance
        else ""
    )
    raise ValueError(
        "`clean` must be images that the classifier knows, with accuracy above "
        f"chance ({100 * chance:.1f} %). Received: {tried}.{hint}"
    )


def _accuracy_in_another_order(predicted, labels):
    """The accuracy if each predicted class meant its most frequent label."""
    right = sum(
        np.bincount(labels[predicted == answer]).max()
        for answer in np.unique(predicted)
    )
    return right / len(labels)
