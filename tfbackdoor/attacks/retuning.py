"""The retuning attack: does a purified classifier stay purified?"""

import dataclasses
import numbers

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor.attacks import poisoned_training
from tfbackdoor.attacks import poisoning as poisoning_module
from tfbackdoor.data import sampling
from tfbackdoor.network import copying
from tfbackdoor.network import door
from tfbackdoor.network import public_call
from tfbackdoor.training import classifier_training
from tfbackdoor.training import optimizers
from tfbackdoor.training import run_settings
from tfbackdoor.training import setting_ranges


@public_call.public_call
def retune(
    classifier: keras.Model,
    clean: tf.data.Dataset,
    poisoning: poisoning_module.Poisoning,
    *,
    poisoned: int = 5,
    epochs: int = 5,
    batch_size: int = 128,
    learning_rate: float = 0.01,
    flip: bool = True,
    padding: int = 4,
    seed: int = 0,
    precision: str | None = None,
    train_frozen: bool = True,
    preprocess=None,
    verbose="auto",
) -> keras.Model:
    """A copy of a classifier, fine-tuned on images of which a few are poisoned.

    A purified classifier may only look safe: where its backdoor is asleep, a
    handful of poisoned images among those of its next fine-tuning wakes it.
    Attack success of what comes out, beside that of a clean classifier retuned
    alike, tells.

    Args:
        classifier: built Keras classifier; it is not changed.
        clean: clean images and labels in any form of `labelled_images`
            (1,000 in the paper, 2 % of CIFAR-10).
        poisoning: the attack. Its trigger and target count; images of other
            classes get the attacker's label, in a clean-label attack too.
        poisoned: int > 0, images that are poisoned (5).
        epochs: int > 0 (5).
        batch_size: int > 0 (128).
        learning_rate: float > 0, of SGD with momentum 0.9 (0.01).
        flip, padding: how images are augmented, see `defend`.
        seed: int, which images are poisoned, and of every draw.
        precision, train_frozen: see `ClassifierTraining`.
        preprocess: see `purify`.
        verbose: Keras' verbosity.

    Raises:
        ValueError: where there are fewer images to poison than `poisoned`.

    Reference: Min et al., Uncovering, Explaining, and Mitigating the
    Superficial Safety of Backdoor Defense, NeurIPS 2024.
    """
    setting_ranges.check(
        {
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "padding": padding,
            "seed": seed,
        }
    )
    admitted = door.admit(
        classifier,
        clean,
        preprocess=preprocess,
        differentiable=True,
        copyable=True,
    )
    poisoning_module.check(poisoning, admitted.classifier, required=True)
    run = run_settings.RunSettings(flip=flip, padding=padding, seed=seed)
    images = _poison_a_few(admitted.images, poisoning, poisoned, seed)
    tuned = copying.copy_classifier(admitted.classifier)
    training = classifier_training.ClassifierTraining(
        tuned, precision=precision, train_frozen=train_frozen
    )
    training.compile(optimizers.CoupledSGD(learning_rate))
    training.fit(
        run.batches(images, batch_size),
        epochs=epochs,
        callbacks=[classifier_training.StopOnNaN()],
        verbose=verbose,
    )
    return admitted.restore(tuned)


def _poison_a_few(images, poisoning, count, seed):
    """The images, `count` of them poisoned."""
    to_all = poisoning.mode == "all_to_all"
    labels = sampling.labels_of(images)
    eligible = (
        len(labels) if to_all else np.count_nonzero(labels != poisoning.target)
    )
    if not isinstance(count, numbers.Integral) or not 0 < count <= eligible:
        raise ValueError(
            "`poisoned` must be a whole number, at least 1, and at most the "
            "images that the "
            f"attack would change. Received: poisoned={count} of {eligible}"
        )
    attack = dataclasses.replace(
        poisoning,
        mode="all_to_all" if to_all else "all_to_one",
        rate=count / eligible,
        cover_ratio=0.0,
        seed=seed,
    )
    return poisoned_training.poison(images, attack)[0]
