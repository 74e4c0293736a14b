"""How good a classifier is, and how much of a backdoor it holds."""

import collections
import dataclasses
import warnings
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor import errors
from tfbackdoor import rates
from tfbackdoor.attacks import generators
from tfbackdoor.attacks import poisoning as poisoning_module
from tfbackdoor.data import class_numbers
from tfbackdoor.network import compute_view
from tfbackdoor.network import door
from tfbackdoor.network import facts
from tfbackdoor.network import public_call
from tfbackdoor.network import value_range
from tfbackdoor.training import setting_ranges


@public_call.public_call
def evaluate(
    classifier: keras.Model,
    images: tf.data.Dataset,
    poisoning: poisoning_module.Poisoning | None = None,
    *,
    batch_size: int = 256,
    preprocess=None,
    output: str | None = None,
) -> rates.Scores:
    """Scores a classifier on clean and, if it can, triggered images.

    Args:
        classifier: built Keras classifier.
        images: clean images and labels in any form of `labelled_images`, uint8
            or float in [0, 1].
        poisoning: the attack, or None where it is unknown.
        batch_size: int > 0.
        preprocess: what is done to images in [0, 1] before the classifier, a
            function or a name such as `"[0, 255]"`; default what
            `find_value_range` finds. `"[0, 1]"` scores a classifier as it is,
            however bad it may be.
        output: name of the output that gives the class scores, where the
            classifier has several.

    Raises:
        TypeError: where the classifier or the images are of another kind.
        ValueError: where they will not do, or no range of pixels gives an
            accuracy to believe.
    """
    setting_ranges.check({"batch_size": batch_size})
    admitted = door.admit(
        classifier,
        images,
        name="images",
        output=output,
        preprocess=preprocess,
        several_classes=False,
        in_memory=False,
    )
    poisoning_module.check(poisoning, admitted.classifier)
    counter = BatchCounter(admitted.classifier, poisoning)
    return counter.scores(admitted.images.batch(batch_size))


@public_call.public_call
def check_scorable(
    classifier: keras.Model,
    images: tf.data.Dataset,
    poisoning: poisoning_module.Poisoning | None = None,
) -> None:
    """Raises as `evaluate` would, before hours of work, but for pixel ranges.

    Args:
        classifier, images, poisoning: as `evaluate` takes them.
    """
    admitted = door.admit(
        classifier,
        images,
        name="images",
        preprocess="[0, 1]",
        several_classes=False,
        in_memory=False,
    )
    poisoning_module.check(poisoning, admitted.classifier)


class BackdoorScores(keras.callbacks.Callback):
    """Logs clean accuracy and attack success after each epoch.

    The values join the epoch's logs as `clean_accuracy`, `attack_success` and
    `robust_accuracy`. They are for looking at, not for choosing by.

    Args:
        images: clean images and labels in any form of `labelled_images`, uint8
            or float in [0, 1].
        poisoning: the attack.
        classifier: what to score, default the model being fitted.
        batch_size: int > 0.
        preprocess: what is done to images in [0, 1] before the classifier, see
            `evaluate`; a model that is not trained yet cannot tell. The
            trainers of this package take images in [0, 1] alone.

    Raises:
        TypeError: in `fit`, where `poisoning` is no `Poisoning`.
        ValueError: in `fit`, where images or attack will not do.

    Warns:
        RangeWarning: where another range of pixels is clearly right, before
            the first epoch or after it.
    """

    def __init__(
        self,
        images,
        poisoning,
        *,
        classifier=None,
        batch_size=256,
        preprocess="[0, 1]",
    ):
        super().__init__()
        setting_ranges.check({"batch_size": batch_size})
        self.images = images
        self.preprocess = preprocess
        self.batch_size = batch_size
        self.poisoning = poisoning
        self.classifier = classifier
        self._counter = self._batches = self._admitted = None
        self._epochs = 0

    @public_call.public_call
    def on_train_begin(self, logs=None):
        """Refuses images and attacks that will not do before any epoch."""
        scored = self.classifier or self.model
        classifier = _classifier_of(scored)
        admitted = door.admit(
            classifier,
            self.images,
            name="images",
            preprocess=self.preprocess,
            several_classes=False,
            in_memory=False,
        )
        poisoning_module.check(
            self.poisoning, admitted.classifier, required=True
        )
        if scored is classifier:
            scored = admitted.classifier
        self._admitted, self._epochs = admitted, 0
        self._batches = admitted.images.batch(self.batch_size).cache()
        self._warn_of_range()
        self._counter = BatchCounter(scored, self.poisoning)

    def on_epoch_end(self, epoch, logs=None):
        self._epochs += 1
        if self._epochs == 1:  # What was new to all images now tells.
            self._warn_of_range()
        scores = self._counter.scores(self._batches)
        for name in ("clean_accuracy", "attack_success", "robust_accuracy"):
            logs[name] = getattr(scores, name).value

    def _warn_of_range(self):
        """Warns where another range of pixels is clearly right."""
        right = value_range.clearly_right(
            self._admitted.classifier, self._admitted.sample
        )
        if right is None:
            return
        name, accuracy, given = right
        warnings.warn(
            "`preprocess` must say what pixels the classifier takes. Received: "
            f"{self.preprocess!r}, with which {given} of images are answered "
            f"right, and {accuracy} with pixels as {name}.",
            value_range.RangeWarning,
            stacklevel=errors.users_level(),
        )


class BatchCounter:
    """Scores a classifier, compiled once, with its weights as they are then.

    Args:
        classifier: built Keras classifier.
        poisoning: the attack, or None where it is unknown.
        replaced: variables of the classifier that `scores` may replace.
        precision: of the forward passes, see `ComputeView`.
    """

    def __init__(
        self,
        classifier: keras.Model,
        poisoning: poisoning_module.Poisoning | None = None,
        replaced: Sequence[keras.Variable] = (),
        precision: str | None = None,
    ):
        self._view = compute_view.ComputeView(classifier, precision)
        self._classes = facts.facts_of(_classifier_of(classifier)).classes
        self._poisoning = poisoning
        self._replaced = list(replaced)
        self._count_batch = None

    def scores(
        self,
        batches: tf.data.Dataset,
        values: Sequence = (),
        *,
        margin: float = 0.0,
    ) -> rates.Scores:
        """Scores on batches of `(images, labels)`.

        Args:
            batches: batched data set of clean images and their labels, in any
                form of `class_numbers.of_labels`.
            values: tensors that take the place of `replaced`.
            margin: float >= 0, reading ends early when the 95 % intervals of
                all rates reach at most this far from their middle.

        Raises:
            ValueError: on labels of another form.
        """
        batches = _with_class_numbers(batches, self._classes)
        if self._count_batch is None:
            self._count_batch = self._compile(batches.element_spec)
        totals, answers, seen = collections.Counter(), [], []
        values = [tf.convert_to_tensor(value) for value in values]
        for images, labels, *_ in batches:
            counts, correct = self._count_batch(images, labels, values)
            answers.append(correct.numpy())
            seen.append(labels.numpy())
            totals.update({name: int(n) for name, n in counts.items()})
            if margin and _margin(_to_scores(totals)) <= margin:
                break
        return dataclasses.replace(
            _to_scores(totals),
            correct=np.concatenate(answers or [np.zeros(0, bool)]),
            labels=np.concatenate(seen or [np.zeros(0, "int64")]),
        )

    def _compile(self, element_spec):
        image_spec, label_spec, *_ = element_spec
        signature = (
            image_spec,
            label_spec,
            [tf.TensorSpec(v.shape, v.dtype) for v in self._replaced],
        )
        counted = tf.function(
            self._count, input_signature=signature, autograph=False
        )
        return counted.get_concrete_function()

    def _count(self, images, labels, values):
        predictions = self._predict(images, values)
        correct = predictions == labels
        counts = {
            "images": tf.size(labels, tf.int64),
            "correct": _count_true(correct),
        }
        if self._poisoning is None:
            return counts, correct
        attacked = self._poisoning.attacked_labels(labels)
        eligible = attacked != labels
        # Some of TensorFlow's fused kernels fail on a batch of no images.
        scored = eligible | (tf.range(tf.size(labels)) == 0)
        triggered = self._poisoning.trigger(tf.boolean_mask(images, scored))
        predictions = self._predict(triggered, values)
        crossed = self._count_crossed(images, labels, values)
        attacked, labels, counted = (
            tf.boolean_mask(x, scored) for x in (attacked, labels, eligible)
        )
        counts |= {
            "eligible": _count_true(eligible),
            "correct_eligible": _count_true(correct & eligible),
            "attacked": _count_true((predictions == attacked) & counted),
            "robust": _count_true((predictions == labels) & counted),
        }
        return counts | crossed, correct

    def _count_crossed(self, images, labels, values):
        """Of images with the trigger of the next one in the batch."""
        trigger = self._poisoning.trigger
        if not isinstance(trigger, generators.GeneratedTrigger):
            return {}
        stamped = trigger.stamp(images, tf.roll(images, -1, axis=0))
        right = self._predict(stamped, values) == labels
        # A batch of one image has no other.
        counted = tf.fill(tf.shape(labels), tf.size(labels) > 1)
        return {
            "crossed": _count_true(counted),
            "correct_crossed": _count_true(right & counted),
        }

    def _predict(self, images, values):
        scores, _ = self._view(
            images,
            training=False,
            values=dict(zip(map(id, self._replaced), values)),
        )
        return tf.argmax(scores, axis=-1)


def _classifier_of(scored):
    """A classifier itself, or the one that a trainer holds."""
    return getattr(scored, "classifier", scored)


def _with_class_numbers(batches, classes):
    """Batches of images and the int64 numbers of their classes."""
    _, labels, *_ = batches.element_spec
    if class_numbers.are_numbers(labels):
        return batches
    class_numbers.check_kind(labels.shape[1:], labels.dtype, classes, "images")
    return batches.map(
        lambda images, labels, *_: (images, class_numbers.of_labels(labels))
    )


def _count_true(condition):
    return tf.math.count_nonzero(condition)


def _to_scores(totals):
    clean = rates.Rate(totals["correct"], totals["images"])
    if "eligible" not in totals:
        return rates.Scores(clean)
    eligible = totals["eligible"]
    return rates.Scores(
        clean,
        non_target_accuracy=rates.Rate(totals["correct_eligible"], eligible),
        attack_success=rates.Rate(totals["attacked"], eligible),
        robust_accuracy=rates.Rate(totals["robust"], eligible),
        cross_trigger_accuracy=(
            rates.Rate(totals["correct_crossed"], totals["crossed"])
            if "crossed" in totals
            else None
        ),
    )


def _margin(scores):
    """Half the width of the widest interval among `scores`."""
    intervals = [
        rate.interval for rate in scores.rates.values() if rate is not None
    ]
    return max(high - low for low, high in intervals) / 2.0
