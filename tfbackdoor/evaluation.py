"""How good a classifier is, and how much of a backdoor it holds."""

import collections
import dataclasses
import math
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor import compute_view
from tfbackdoor.attacks import generators
from tfbackdoor.attacks import poisoning as poisoning_module

SHOWN_RATES = {
    "clean accuracy": "clean_accuracy",
    "attack success": "attack_success",
    "robust accuracy": "robust_accuracy",
}
_Z_95 = 1.959963984540054


@dataclasses.dataclass(frozen=True)
class Rate:
    """A share of images, with its uncertainty.

    Args:
        successes: int >= 0.
        total: int >= successes, number of images.
    """

    successes: int
    total: int

    @property
    def value(self) -> float:
        """The share in [0, 1], or NaN of no images."""
        return self.successes / self.total if self.total else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson score interval (Wilson 1927), in [0, 1]."""
        if not self.total:
            return 0.0, 1.0
        z2 = _Z_95**2
        spread = _Z_95 * math.sqrt(
            self.value * (1.0 - self.value) / self.total
            + z2 / (4.0 * self.total**2)
        )
        scale = 1.0 + z2 / self.total
        centre = self.value + z2 / (2.0 * self.total)
        low, high = (centre - spread) / scale, (centre + spread) / scale
        return max(0.0, low), min(1.0, high)

    def __str__(self):
        if not self.total:
            return "unknown"
        low, high = self.interval
        return (
            f"{100 * self.value:.1f} % [{100 * low:.1f}, {100 * high:.1f}] "
            f"n={self.total}"
        )


@dataclasses.dataclass(frozen=True)
class Scores:
    """The scores of one classifier; those of an unknown trigger are None.

    Args:
        clean_accuracy: over all clean images.
        non_target_accuracy: over clean images that the attack would change,
            for one target class those outside it (what NAD's code reports).
        attack_success: triggered images given the attacker's label, without
            images that have this label anyway.
        robust_accuracy: the same triggered images given their true label.
        cross_trigger_accuracy: images with the trigger of another image given
            their true label, of attacks whose triggers differ by image
            (Nguyen & Tran 2020); high where a trigger serves its own image
            alone.
        correct: bool array `(images,)`, which clean images were answered
            right, to compare classifiers image by image.
    """

    clean_accuracy: Rate
    non_target_accuracy: Rate | None = None
    attack_success: Rate | None = None
    robust_accuracy: Rate | None = None
    cross_trigger_accuracy: Rate | None = None
    correct: np.ndarray | None = dataclasses.field(
        default=None, repr=False, compare=False
    )

    @property
    def rates(self) -> dict[str, Rate | None]:
        """The rates by name."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name != "correct"
        }

    def to_json(self) -> dict:
        """Nested dict of shares, 95 % intervals and counts."""
        return {name: _rate_to_json(rate) for name, rate in self.rates.items()}


@dataclasses.dataclass(frozen=True)
class AccuracyLoss:
    """What clean accuracy a change of a classifier costs, image by image.

    Args:
        lost: int, images that were right before and are wrong after.
        won: int, images that were wrong before and are right after.
        total: int, number of images.
    """

    lost: int
    won: int
    total: int

    @property
    def value(self) -> float:
        """The share of images lost less the share won."""
        return (self.lost - self.won) / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of paired proportions (Bonett & Price 2012)."""
        lost = (self.lost + 1) / (self.total + 2)
        won = (self.won + 1) / (self.total + 2)
        spread = _Z_95 * math.sqrt(
            (lost + won - (lost - won) ** 2) / (self.total + 2)
        )
        return lost - won - spread, lost - won + spread

    def __str__(self):
        low, high = self.interval
        return (
            f"{100 * self.value:.1f} points [{100 * low:.1f}, {100 * high:.1f}]"
        )


def accuracy_loss(before: Scores, after: Scores) -> AccuracyLoss:
    """The loss from `before` to `after`, both of the same images in order."""
    return AccuracyLoss(
        lost=int((before.correct & ~after.correct).sum()),
        won=int((after.correct & ~before.correct).sum()),
        total=len(before.correct),
    )


def evaluate(
    classifier: keras.Model,
    images: tf.data.Dataset,
    poisoning: poisoning_module.Poisoning | None = None,
    *,
    batch_size: int = 256,
) -> Scores:
    """Scores a classifier on clean and, if it can, triggered images.

    Args:
        classifier: built Keras classifier.
        images: unbatched data set of clean `(image, label)`, images float32
            in [0, 1].
        poisoning: the attack, or None where it is unknown.
        batch_size: int > 0.
    """
    counter = BatchCounter(classifier, poisoning)
    return counter.scores(images.batch(batch_size))


def defence_effectiveness(before: Scores, after: Scores) -> float:
    """Defence effectiveness rating in [0, 1]; 1 is a free, complete cure.

    `(max(0, fall of attack success) - max(0, fall of accuracy) + 1) / 2`
    (Zhu et al., Enhancing Fine-Tuning Based Backdoor Defense, ICCV 2023).
    """
    if before.attack_success is None or after.attack_success is None:
        raise ValueError(
            "`before` and `after` must hold an attack success rate. "
            "Received: scores of an unknown trigger."
        )
    attack = before.attack_success.value - after.attack_success.value
    accuracy = before.clean_accuracy.value - after.clean_accuracy.value
    return (max(0.0, attack) - max(0.0, accuracy) + 1.0) / 2.0


def scores_table(scores: dict[str, Scores]) -> str:
    """A text table, a row a classifier, each rate with interval and count.

    Args:
        scores: from the row's name, such as `"before"`, to its scores.
    """
    rows = [["", *SHOWN_RATES]]
    for name, row in scores.items():
        rates = (getattr(row, field) for field in SHOWN_RATES.values())
        rows.append([name, *(str(rate or "unknown") for rate in rates)])
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths))
        for row in rows
    ]
    rule = "-" * len(lines[0])
    note = "Rates over test images, with 95 % Wilson intervals."
    return "\n".join([lines[0], rule, *lines[1:], rule, note])


class BackdoorScores(keras.callbacks.Callback):
    """Logs clean accuracy and attack success after each epoch.

    The values join the epoch's logs as `clean_accuracy`, `attack_success` and
    `robust_accuracy`. They are for looking at, not for choosing by.

    Args:
        images: unbatched data set of clean `(image, label)`.
        poisoning: the attack.
        classifier: what to score, default the model being fitted.
        batch_size: int > 0.
    """

    def __init__(self, images, poisoning, *, classifier=None, batch_size=256):
        super().__init__()
        self.images = images.batch(batch_size).cache()
        self.poisoning = poisoning
        self.classifier = classifier
        self._counter = None

    def on_epoch_end(self, epoch, logs=None):
        if self._counter is None:
            scored = self.classifier or self.model
            self._counter = BatchCounter(scored, self.poisoning)
        scores = self._counter.scores(self.images)
        for name in ("clean_accuracy", "attack_success", "robust_accuracy"):
            logs[name] = getattr(scores, name).value


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
        self._poisoning = poisoning
        self._replaced = list(replaced)
        self._count_batch = None

    def scores(
        self,
        batches: tf.data.Dataset,
        values: Sequence = (),
        *,
        margin: float = 0.0,
    ) -> Scores:
        """Scores on batches of `(images, labels)`.

        Args:
            batches: batched data set of clean images.
            values: tensors that take the place of `replaced`.
            margin: float >= 0, reading ends early when the 95 % intervals of
                all rates reach at most this far from their middle.
        """
        if self._count_batch is None:
            self._count_batch = self._compile(batches.element_spec)
        totals, answers = collections.Counter(), []
        values = [tf.convert_to_tensor(value) for value in values]
        for images, labels, *_ in batches:
            counts, correct = self._count_batch(
                images, tf.cast(labels, tf.int64), values
            )
            answers.append(correct.numpy())
            totals.update({name: int(n) for name, n in counts.items()})
            if margin and _margin(_to_scores(totals)) <= margin:
                break
        return dataclasses.replace(
            _to_scores(totals),
            correct=np.concatenate(answers or [np.zeros(0, bool)]),
        )

    def _compile(self, element_spec):
        image_spec, label_spec, *_ = element_spec
        signature = (
            image_spec,
            tf.TensorSpec(label_spec.shape, tf.int64),
            [tf.TensorSpec(v.shape, v.dtype) for v in self._replaced],
        )
        return tf.function(
            self._count, input_signature=signature, autograph=False
        )

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


def _count_true(condition):
    return tf.math.count_nonzero(condition)


def _to_scores(totals):
    clean = Rate(totals["correct"], totals["images"])
    if "eligible" not in totals:
        return Scores(clean)
    eligible = totals["eligible"]
    return Scores(
        clean,
        non_target_accuracy=Rate(totals["correct_eligible"], eligible),
        attack_success=Rate(totals["attacked"], eligible),
        robust_accuracy=Rate(totals["robust"], eligible),
        cross_trigger_accuracy=(
            Rate(totals["correct_crossed"], totals["crossed"])
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


def _rate_to_json(rate):
    if rate is None:
        return None
    return {
        "value": rate.value,
        "interval_95": list(rate.interval),
        "successes": rate.successes,
        "images": rate.total,
    }
