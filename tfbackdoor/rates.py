"""Rates with their uncertainty: what a classifier scored, and what it lost."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

SHOWN_RATES = {
    "clean accuracy": "clean_accuracy",
    "attack success": "attack_success",
    "robust accuracy": "robust_accuracy",
}
# What a loss of accuracy, or of a class's recall, must exceed to be warned of.
MUCH_LOST = 0.1
_Z_95 = 1.959963984540054
_ROUNDING = 1e-9


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

    def to_json(self) -> dict:
        """Dict of share, 95 % interval and counts."""
        return {
            "value": self.value,
            "interval_95": list(self.interval),
            "successes": self.successes,
            "images": self.total,
        }

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
        labels: int array `(images,)`, the true classes of these images.
    """

    clean_accuracy: Rate
    non_target_accuracy: Rate | None = None
    attack_success: Rate | None = None
    robust_accuracy: Rate | None = None
    cross_trigger_accuracy: Rate | None = None
    correct: np.ndarray | None = dataclasses.field(
        default=None, repr=False, compare=False
    )
    labels: np.ndarray | None = dataclasses.field(
        default=None, repr=False, compare=False
    )

    @property
    def recalls(self) -> dict[int, Rate]:
        """From class to the share of its images that were answered right.

        Classes without images are left out; `{}` where labels are unknown.
        """
        if self.labels is None:
            return {}
        return {
            int(label): Rate(int(right.sum()), len(right))
            for label in np.unique(self.labels)
            for right in [self.correct[self.labels == label]]
        }

    @property
    def rates(self) -> dict[str, Rate | None]:
        """The rates by name."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("correct", "labels")
        }

    def to_json(self) -> dict:
        """Nested dict of shares, 95 % intervals and counts."""
        return {
            name: None if rate is None else rate.to_json()
            for name, rate in self.rates.items()
        }


def pool(parts: Sequence[Scores]) -> Scores:
    """The clean accuracy over the images of all parts, in their order."""
    correct, labels = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("correct", "labels")
    )
    return Scores(
        Rate(int(correct.sum()), len(correct)), correct=correct, labels=labels
    )


@dataclasses.dataclass(frozen=True)
class AccuracyLoss:
    """What clean accuracy a change of a classifier costs, image by image.

    Args:
        lost: images that were right before and are wrong after; a float where
            each was scored several times.
        won: images that were wrong before and are right after, likewise.
        total: number of images.
    """

    lost: float
    won: float
    total: float

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

    def exceeds(self, share: float) -> bool:
        """Whether more than `share` was lost, and some of it surely."""
        return self.value > share and self.interval[0] > 0.0

    def __str__(self):
        low, high = self.interval
        return (
            f"{100 * self.value:.1f} points [{100 * low:.1f}, {100 * high:.1f}]"
        )


def within_budget(drop: float, budget: float) -> bool:
    """Whether a drop is at most `budget`, where both are shares.

    Rounding aside: 0.93 - 0.9 is more than 0.03 to a computer.
    """
    return drop <= budget + _ROUNDING


def accuracy_loss(
    before: Scores, after: Scores, *, draws: int = 1
) -> AccuracyLoss:
    """The loss from `before` to `after`, both of the same images in order.

    Args:
        before, after: scores with an answer for each image.
        draws: int > 0, how many times each image was scored, augmented anew.
    """
    loss = _loss(before.correct, after.correct)
    if draws == 1:
        return loss
    return AccuracyLoss(loss.lost / draws, loss.won / draws, loss.total / draws)


def class_losses(before: Scores, after: Scores) -> dict[int, AccuracyLoss]:
    """`accuracy_loss` over the images of each class, `{}` without labels."""
    return {
        label: _loss(before.correct[own], after.correct[own])
        for label in before.recalls
        for own in [before.labels == label]
    }


def defense_effectiveness(before: Scores, after: Scores) -> float:
    """Defense effectiveness rating in [0, 1]; 1 is a free, complete cure.

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


def scores_table(scores: dict[str, Scores], images: str = "test") -> str:
    """A text table, a row a classifier, each rate with interval and count.

    Args:
        scores: from the row's name, such as `"before"`, to its scores.
        images: which images these are of.
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
    note = f"Rates over {images} images, with 95 % Wilson intervals."
    return "\n".join([lines[0], rule, *lines[1:], rule, note])


def _loss(before, after):
    """What is lost from one to the other of two bool arrays `(images,)`."""
    return AccuracyLoss(
        lost=int((before & ~after).sum()),
        won=int((after & ~before).sum()),
        total=len(before),
    )
