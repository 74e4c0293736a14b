"""How a method draws its images and computes, whatever it trains."""

import dataclasses
import numbers
import time

import numpy as np
import tensorflow as tf

from tfbackdoor.data import augmentation
from tfbackdoor.data import sampling
from tfbackdoor.data import tracks as tracks_module
from tfbackdoor.network import devices


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSettings:
    """How a method draws its images and computes, whatever it trains.

    Args:
        flip: bool, whether images are mirrored at random; digits and traffic
            signs must not be.
        padding: int >= 0, pixels of the random crop (4 in both papers).
        seed: int, of every draw.
        precision: `"float32"`, `"mixed_bfloat16"`, or None for the
            classifier's own.
        synchronised: bool, see `ClassifierTraining`.
        train_frozen: bool, see `ClassifierTraining`.
        verbose: Keras' verbosity.
        tracks: `(images,)`, which clean images show the same thing, so that no
            part judges what another has seen of it; None where all differ.
        begun: each step that was announced, and when, `time.monotonic`.
    """

    flip: bool = True
    padding: int = 4
    seed: int = 0
    precision: str | None = None
    synchronised: bool = True
    train_frozen: bool = True
    verbose: str | int = "auto"
    tracks: np.ndarray | None = dataclasses.field(
        default=None, repr=False, compare=False
    )
    begun: list[tuple[str, float]] = dataclasses.field(
        default_factory=list, repr=False, compare=False
    )

    def __post_init__(self):
        devices.check_precision(self.precision)
        if not isinstance(self.flip, (bool, np.bool_)):
            raise ValueError(
                f"`flip` must be True or False. Received: flip={self.flip!r}"
            )
        if not isinstance(self.seed, numbers.Integral):
            raise ValueError(
                f"`seed` must be a whole number. Received: seed={self.seed!r}"
            )

    def batches(
        self,
        images: tf.data.Dataset,
        batch_size: int,
        *,
        replacement: bool = False,
        weights: np.ndarray | None = None,
        cutout_holes: int = 0,
        cutout_length: int = 9,
    ) -> tf.data.Dataset:
        """Augmented batches; see `training_batches` and `augment`."""
        return augmentation.augment(
            sampling.training_batches(
                images,
                batch_size,
                seed=self.seed,
                replacement=replacement,
                weights=weights,
            ),
            padding=self.padding,
            flip=self.flip,
            cutout_holes=cutout_holes,
            cutout_length=cutout_length,
            seed=self.seed,
        )

    def hold_out(
        self, clean: tf.data.Dataset, share: float
    ) -> tuple[tf.data.Dataset, tf.data.Dataset, "RunSettings"]:
        """Parts the clean images; a share of them judges.

        Returns:
            Those that optimise, those that judge, and the settings for what
            optimises.

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
        kept, held_out = self._parts(clean, [total - count, count])
        run = self
        if self.tracks is not None:
            run = dataclasses.replace(self, tracks=self.tracks[kept])
        return (
            sampling.select(clean, kept),
            sampling.select(clean, held_out),
            run,
        )

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
        everything = np.arange(total)
        sizes = [len(part) for part in np.array_split(everything, count)]
        return [
            (
                sampling.select(clean, np.setdiff1d(everything, part)),
                sampling.select(clean, part),
            )
            for part in self._parts(clean, sizes)
        ]

    def _parts(self, clean, counts):
        """Positions, ascending, of all images in parts of those sizes.

        Of about those sizes where tracks stay whole.
        """
        if self.tracks is None:
            return sampling.split_positions(clean, counts, seed=self.seed)
        parts = tracks_module.whole_parts(
            sampling.labels_of(clean),
            self.tracks,
            counts,
            np.random.default_rng(self.seed),
        )
        return [np.sort(part) for part in parts]

    def announce(self, step: str) -> None:
        """Notes that a step begins; prints its name unless `verbose` is 0."""
        self.begun.append((step, time.monotonic()))
        if self.verbose:
            print(step, flush=True)

    def reseeded(self, seed: int) -> "RunSettings":
        """The same with other draws."""
        return dataclasses.replace(self, seed=seed)
