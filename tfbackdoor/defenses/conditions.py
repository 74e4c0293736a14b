"""What every defence is given, and what it gives back."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor import augmentation
from tfbackdoor import sampling


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conditions:
    """Under which a defence runs, whichever it is.

    Args: see `defend`.
    """

    flip: bool = True
    padding: int = 4
    seed: int = 0
    precision: str | None = None
    small: bool = False
    verbose: str | int = "auto"

    def batches(
        self,
        images: tf.data.Dataset,
        batch_size: int,
        *,
        replacement: bool = False,
        cutout_holes: int = 0,
        cutout_length: int = 9,
    ) -> tf.data.Dataset:
        """Augmented batches; see `training_batches` and `augment`."""
        return augmentation.augment(
            sampling.training_batches(
                images, batch_size, seed=self.seed, replacement=replacement
            ),
            padding=self.padding,
            flip=self.flip,
            cutout_holes=cutout_holes,
            cutout_length=cutout_length,
            seed=self.seed,
        )

    def hold_out(
        self, clean: tf.data.Dataset, share: float
    ) -> tuple[tf.data.Dataset, tf.data.Dataset]:
        """The clean images that optimise, and a share of them that judges.

        Raises:
            ValueError: where either part would be empty.
        """
        total = sampling.cardinality(clean)
        count = round(share * total)
        if not 0 < count < total:
            raise ValueError(
                "`held_out` must leave images to optimise on and to judge on. "
                f"Received: held_out={share} of {total} clean images"
            )
        optimise, judge = sampling.split_images(
            clean, [total - count, count], seed=self.seed
        )
        return optimise, judge

    def folds(
        self, clean: tf.data.Dataset, count: int
    ) -> list[tuple[tf.data.Dataset, tf.data.Dataset]]:
        """For each of `count` equal parts the other parts, and it to judge.

        Raises:
            ValueError: where a part would be empty, or there are no others.
        """
        total = sampling.cardinality(clean)
        if not 2 <= count <= total:
            raise ValueError(
                "`folds` must be at least 2 and at most the number of clean "
                f"images. Received: folds={count} of {total} clean images"
            )
        order = np.random.default_rng(self.seed).permutation(total)
        return [
            (
                sampling.select(clean, np.setdiff1d(order, part)),
                sampling.select(clean, part),
            )
            for part in np.array_split(order, count)
        ]

    def reseeded(self, seed: int) -> "Conditions":
        """The same with other draws."""
        return dataclasses.replace(self, seed=seed)

    def epochs(self, number: int) -> int:
        """That many epochs, or one in small."""
        return 1 if self.small else number


@dataclasses.dataclass(frozen=True, eq=False)
class Defended:
    """What a defence made of a classifier.

    Args:
        stages: from name to classifier, in the order in which they came
            about; the last is the purified one.
        details: what was chosen and why, fit for JSON.
        found: what the choice rests on, such as masks and curves.
    """

    stages: dict[str, keras.Model]
    details: dict = dataclasses.field(default_factory=dict)
    found: dict = dataclasses.field(default_factory=dict)

    @property
    def classifier(self) -> keras.Model:
        """The purified classifier."""
        return list(self.stages.values())[-1]
