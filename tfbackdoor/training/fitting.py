"""Training a classifier from scratch, as ANP's code trains its networks."""

import keras
import tensorflow as tf

from tfbackdoor.training import classifier_training
from tfbackdoor.training import optimizers
from tfbackdoor.training import run_settings


def fit_classifier(
    classifier: keras.Model,
    images: tf.data.Dataset,
    run: run_settings.RunSettings,
    *,
    epochs: int = 200,
    batch_size: int = 128,
    learning_rate: float = 0.1,
    weight_decay: float = 5e-4,
    schedule: str = "steps",
    callbacks=(),
) -> keras.Model:
    """Trains all weights of `classifier` in place, and returns it.

    The defaults are those of ANP's code.

    Args:
        classifier: built Keras classifier.
        images: unbatched data set of `(image, label)`, images in [0, 1].
        run: how images are drawn and augmented.
        epochs: int > 0.
        batch_size: int > 0, over all replicas.
        learning_rate: float > 0, the first one.
        weight_decay: float >= 0.
        schedule: see `decaying`.
        callbacks: Keras callbacks beside `StopOnNaN`.

    Raises:
        ValueError: where a setting is out of its range.
    """
    check_fit(epochs, batch_size, schedule)
    batches = run.batches(images, batch_size)
    model = classifier_training.ClassifierTraining(
        classifier, synchronised=run.synchronised, precision=run.precision
    )
    rate = optimizers.decaying(learning_rate, len(batches) * epochs, schedule)
    model.compile(optimizer=optimizers.CoupledSGD(rate, l2=weight_decay))
    model.fit(
        batches,
        epochs=epochs,
        verbose=run.verbose,
        callbacks=[classifier_training.StopOnNaN(), *callbacks],
    )
    return classifier


def check_fit(epochs: int, batch_size: int, schedule: str) -> None:
    """Raises ValueError where `fit_classifier` would refuse these."""
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(
                f"`{name}` must be at least 1. Received: {name}={value}"
            )
    if schedule not in optimizers.SCHEDULES:
        raise ValueError(
            f"`schedule` must be one of {optimizers.SCHEDULES}. "
            f"Received: {schedule!r}"
        )
