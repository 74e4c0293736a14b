"""What a report shows beside numbers: samples, attention, found triggers."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor.attacks import generators
from tfbackdoor.data import sampling
from tfbackdoor.defenses import attention
from tfbackdoor.defenses import inverted_triggers
from tfbackdoor.network import classifiers
from tfbackdoor.report import pictures

_MOST_STAMPED = 4


@dataclasses.dataclass(frozen=True, eq=False)
class FoundTrigger:
    """A trigger that a scan found for a class, and what it does to images.

    Args:
        target: int, the class.
        mask: float array `(height, width, 1)` in [0, 1], its opacity.
        pattern: float array `(height, width, channels)` in [0, 1].
        stamped: `(count, height, width, channels)` clean images of other
            classes with the trigger.
        labels: `count` integers, their true classes.
        predictions: from row name, `"before"` and `"purified"`, to `count`
            predicted classes of the images with the trigger.
    """

    target: int
    mask: np.ndarray
    pattern: np.ndarray
    stamped: np.ndarray
    labels: list[int]
    predictions: dict[str, list[int]]

    def to_json(self) -> dict:
        """The trigger with its images as PNG."""
        return {
            "target": self.target,
            "pixels": float(np.sum(self.mask)),
            "mask": pictures.picture(self.mask),
            "trigger": pictures.picture(self.mask * self.pattern),
            "stamped": [pictures.picture(image) for image in self.stamped],
            "labels": self.labels,
            "predictions": self.predictions,
        }


def draw_samples(
    images: tf.data.Dataset, count: int, *, seed: int
) -> tuple[np.ndarray, list[int]]:
    """Up to `count` images and their labels, drawn at random.

    The first ones would be of one class where a set is sorted by class.
    """
    total = sampling.cardinality(images)
    count = min(count, total)
    drawn = np.random.default_rng(seed).choice(total, count, replace=False)
    batch = sampling.select(images, drawn).batch(count)
    samples, labels = next(batch.as_numpy_iterator())
    return samples, labels.tolist()


def find_triggers(
    rows: dict[str, keras.Model],
    triggers: inverted_triggers.InvertedTriggers,
    images: np.ndarray,
    labels: list[int],
) -> list[FoundTrigger]:
    """Each of `triggers` on images of other classes, and what `rows` answer.

    Args:
        rows: from row name to classifier.
        triggers: those to show.
        images: array `(count, height, width, channels)` in [0, 1].
        labels: `count` integers.
    """
    found = []
    for target, mask, pattern in zip(
        triggers.targets, triggers.masks, triggers.patterns
    ):
        others = np.flatnonzero(np.asarray(labels) != target)[:_MOST_STAMPED]
        stamped = generators.blend(images[others], pattern, mask)
        found.append(
            FoundTrigger(
                target=int(target),
                mask=mask,
                pattern=pattern,
                stamped=stamped,
                labels=[labels[index] for index in others],
                predictions=predict(rows, stamped),
            )
        )
    return found


def attention_of_first(
    rows: dict[str, keras.Model], images: np.ndarray
) -> dict[str, dict[str, np.ndarray]]:
    """Attention maps of the first image, none where there are no taps."""
    try:
        taps = attention.find_taps(rows["before"])
        return {
            name: attention.attention_maps(row, images[:1], taps)
            for name, row in rows.items()
        }
    except ValueError:
        return {}


def predict(rows: dict[str, keras.Model], images) -> dict[str, list[int]]:
    """From row name to the class that its classifier gives each image."""
    return {
        name: classifiers.predicted_classes(row, images).tolist()
        if len(images)
        else []
        for name, row in rows.items()
    }
