"""Whether a small trigger sends each class to one other class."""

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor.data import sampling
from tfbackdoor.defenses import inversion
from tfbackdoor.network import batch_size
from tfbackdoor.network import classifiers

_STEPS = 50
_IMAGES = 16
_SHARES = (0.03, 0.03, 1.0)
_OPACITIES = (1.0, 1.0, 0.1)
_JUDGED = 512
_MOST_STAMPED = 512
_NEVER_ONE = 1.0001
_DOUBT = 2.0


def one_to_one_shares(
    classifier: keras.Model,
    clean: tf.data.Dataset,
    *,
    seed: int = 0,
    precision: str | None = None,
) -> np.ndarray:
    """How far one small trigger permutes the classes.

    Searches triggers after which images are no longer answered by their label,
    whatever else: two patches of at most 3 % of the pixels and a blend of
    opacity 0.1. An all-to-all backdoor (Gu et al. 2017) makes such a trigger
    easy, and sends each class to another one, where the trigger of one target
    sends all to it and an adversarial one sends few, to classes alike.

    Args:
        classifier: built Keras classifier; it is not changed.
        clean: unbatched data set of clean `(image, label)` in [0, 1].
        seed: int, of the images and of the triggers' start.
        precision: of the forward passes, see `ComputeView`.

    Returns:
        `(classes,)` floats in [0, 1], see `one_to_one`, of the trigger whose
        mean is the largest.

    Reference: Gu et al., BadNets: Identifying Vulnerabilities in the Machine
    Learning Model Supply Chain, 2017.
    """
    classes = classifiers.class_count(classifier)
    at_once = batch_size.batch_size_for(
        classifier, most=_MOST_STAMPED, training=True
    )
    triggers = min(len(_SHARES), at_once)
    search = UntargetedInversion(
        classifier,
        [0] * triggers,
        penalty=0.0,
        max_share=_SHARES[:triggers],
        max_opacity=_OPACITIES[:triggers],
        seed=seed,
        precision=precision,
    )
    search.compile()
    batches = sampling.training_batches(
        clean,
        min(_IMAGES, at_once // triggers),
        seed=seed,
        replacement=True,
    )
    search.fit(batches, steps_per_epoch=_STEPS, verbose=0)
    judged = clean.take(_JUDGED).batch(max(1, at_once // triggers))
    answers, labels = [], []
    for images, of_images in judged:
        answers.append(search.answers(images).numpy())
        labels.append(of_images.numpy())
    return max(
        (
            one_to_one(each, np.concatenate(labels), classes)
            for each in np.concatenate(answers, axis=1)
        ),
        key=np.mean,
    )


def one_to_one(answers, labels, classes: int) -> np.ndarray:
    """For each class k, how far wrong answers k are of one class, all of it.

    `max over i != k of P(answer k | label i) * P(label i | answer k, wrong)`:
    1 where all images of one class, and of no other, are answered by k. Both
    as shares of the images and 2 more, so that few images tell little.

    Args:
        answers: `(images,)` integers.
        labels: `(images,)` integers.
        classes: int.
    """
    counts = np.zeros((classes, classes))
    np.add.at(counts, (np.ravel(labels), np.ravel(answers)), 1.0)
    of_label = counts.sum(axis=1, keepdims=True) + _DOUBT
    np.fill_diagonal(counts, 0.0)
    of_answer = counts.sum(axis=0, keepdims=True) + _DOUBT
    return np.max(counts / of_label * counts / of_answer, axis=0)


class UntargetedInversion(inversion.TriggerInversion):
    """Triggers that turn images away from their label: `-log(1 - p_y)`."""

    def train_step(self, data):
        images, labels, *_ = data
        triggers = [self.mask_logits, self.pattern_logits]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([variable.value for variable in triggers])
            scores = self._stamped_scores(images, *self.masks_and_patterns())
            own = tf.one_hot(tf.cast(labels, tf.int32), scores.shape[-1])
            kept = tf.exp(tf.reduce_sum(scores * own, axis=-1))
            losses = -tf.reduce_mean(tf.math.log(_NEVER_ONE - kept), axis=1)
        gradients = tape.gradient(losses, [v.value for v in triggers])
        self.optimizer.apply(gradients, triggers)
        return {"loss": tf.reduce_mean(losses)}

    @tf.function(autograph=False)
    def answers(self, images):
        """`(triggers, batch)` integers."""
        return tf.argmax(self(images), axis=-1)
