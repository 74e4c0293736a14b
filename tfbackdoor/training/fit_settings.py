"""Training a classifier from scratch, as ANP's code trains its networks."""

import dataclasses

import keras
import tensorflow as tf

from tfbackdoor.data import augmentation
from tfbackdoor.data import sampling
from tfbackdoor.network import devices
from tfbackdoor.training import classifier_training
from tfbackdoor.training import optimizers

SCHEDULES = ("steps", "cosine")


@dataclasses.dataclass(frozen=True)
class FitSettings:
    """How a classifier is trained; the defaults are those of ANP's code.

    Args:
        epochs: int > 0 (200).
        batch_size: int > 0, over all replicas (128).
        learning_rate: float > 0, the first one (0.1).
        weight_decay: float >= 0 (5e-4).
        schedule: `"steps"` divides the learning rate by 10 at 1/2 and 3/4 of
            the epochs, as ANP does; `"cosine"` warms up and decays, which is
            better for few epochs.
        flip: bool, whether to mirror images at random.
        padding: int >= 0, of the random crop (4).
        seed: int, of batches and augmentation.
        synchronised: bool, see `ClassifierTraining`.
        precision: of the forward passes, see `ComputeView`.
        verbose: Keras' verbosity.
        callbacks: Keras callbacks beside `StopOnNaN`.
    """

    epochs: int = 200
    batch_size: int = 128
    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    schedule: str = "steps"
    flip: bool = True
    padding: int = 4
    seed: int = 0
    synchronised: bool = True
    precision: str | None = None
    verbose: str | int = "auto"
    callbacks: tuple = ()

    def __post_init__(self):
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"`{name}` must be at least 1. "
                    f"Received: {name}={getattr(self, name)}"
                )
        if self.schedule not in SCHEDULES:
            raise ValueError(
                f"`schedule` must be one of {SCHEDULES}. "
                f"Received: {self.schedule!r}"
            )
        devices.check_precision(self.precision)

    def shortened(self, share: float) -> "FitSettings":
        """The same for that share of the epochs, at least one."""
        epochs = max(1, round(share * self.epochs))
        return dataclasses.replace(self, epochs=epochs)

    def batches(self, images: tf.data.Dataset) -> tf.data.Dataset:
        """Shuffled and augmented batches of unbatched `images`."""
        return augmentation.augment(
            sampling.training_batches(images, self.batch_size, seed=self.seed),
            padding=self.padding,
            flip=self.flip,
            seed=self.seed,
        )

    def optimizer(self, steps: int) -> keras.optimizers.Optimizer:
        """SGD whose learning rate runs its schedule over `steps`."""
        return optimizers.CoupledSGD(
            self.decayed(self.learning_rate, steps), l2=self.weight_decay
        )

    def decayed(
        self, rate: float, steps: int
    ) -> keras.optimizers.schedules.LearningRateSchedule:
        """The schedule over `steps`, with `rate` as the learning rate."""
        if self.schedule == "cosine":
            return keras.optimizers.schedules.CosineDecay(
                rate / 10, steps, warmup_target=rate, warmup_steps=steps // 10
            )
        return keras.optimizers.schedules.PiecewiseConstantDecay(
            [steps // 2, steps * 3 // 4], [rate, rate / 10, rate / 100]
        )


def fit_classifier(
    classifier: keras.Model, images: tf.data.Dataset, settings: FitSettings
) -> keras.Model:
    """Trains all weights of `classifier` in place, and returns it.

    Args:
        classifier: built Keras classifier.
        images: unbatched data set of `(image, label)`, images in [0, 1].
        settings: how.
    """
    batches = settings.batches(images)
    model = classifier_training.ClassifierTraining(
        classifier,
        synchronised=settings.synchronised,
        precision=settings.precision,
    )
    model.compile(optimizer=settings.optimizer(len(batches) * settings.epochs))
    fit(model, batches, settings)
    return classifier


def fit(
    model: keras.Model, batches: tf.data.Dataset, settings: FitSettings
) -> None:
    """Keras' `fit` of a compiled model, with the callbacks of `settings`."""
    model.fit(
        batches,
        epochs=settings.epochs,
        verbose=settings.verbose,
        callbacks=[classifier_training.StopOnNaN(), *settings.callbacks],
    )
