"""One call of `train_attacked`: what every attack is given."""

import dataclasses
from collections.abc import Callable

import keras
import tensorflow as tf

from tfbackdoor.attacks import poisoned_training
from tfbackdoor.attacks import poisoning as poisoning_module
from tfbackdoor.training import fitting
from tfbackdoor.training import run_settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttackRun:
    """One call of `train_attacked`, and the steps that attacks share.

    Args:
        build: function of `(image_shape, classes)` that gives a classifier.
        images: unbatched training set of `(image, label)`.
        image_shape: `(height, width, channels)`.
        classes, target, mode, rate, cover_ratio: see `Poisoning`.
        make_trigger: function from the image shape to a trigger, or None.
        settings: how images are drawn and passes computed.
        epochs, batch_size, learning_rate, weight_decay, schedule, callbacks:
            see `fit_classifier`.
        reflections: images for Refool, or None.
        clean_classifier: one trained without attack, or None.
    """

    build: Callable
    images: tf.data.Dataset
    image_shape: tuple[int, int, int]
    classes: int
    target: int
    mode: str
    rate: float
    cover_ratio: float
    make_trigger: Callable | None
    settings: run_settings.RunSettings
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    schedule: str
    callbacks: tuple
    reflections: tf.data.Dataset | None
    clean_classifier: keras.Model | None

    def __post_init__(self):
        fitting.check_fit(self.epochs, self.batch_size, self.schedule)

    def poisoning(self, trigger) -> poisoning_module.Poisoning:
        """What is planned, with no image chosen yet."""
        return poisoning_module.Poisoning(
            trigger,
            classes=self.classes,
            target=self.target,
            mode=self.mode,
            rate=self.rate,
            cover_ratio=self.cover_ratio,
            seed=self.settings.seed,
        )

    def poison(self, images: tf.data.Dataset, trigger):
        """The images with their share poisoned, and the `Poisoning`."""
        return poisoned_training.poison(images, self.poisoning(trigger))

    def fit(self, classifier: keras.Model, images, **changes) -> keras.Model:
        """Trains a classifier in place, as the run says but for `changes`."""
        names = (
            "epochs",
            "batch_size",
            "learning_rate",
            "weight_decay",
            "schedule",
            "callbacks",
        )
        settings = {name: getattr(self, name) for name in names} | changes
        return fitting.fit_classifier(
            classifier, images, self.settings, **settings
        )

    def train_fresh(self, images, **changes) -> keras.Model:
        """Builds a classifier and trains it."""
        classifier = self.build(self.image_shape, self.classes)
        return self.fit(classifier, images, **changes)

    def clean(self) -> keras.Model:
        """A classifier trained without attack."""
        if self.clean_classifier is not None:
            return self.clean_classifier
        return self.train_fresh(self.images)

    def share_of_epochs(self, share: float) -> int:
        """So many epochs, at least one."""
        return max(1, round(share * self.epochs))
