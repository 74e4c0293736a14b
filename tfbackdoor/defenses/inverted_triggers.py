"""Triggers that were found in a classifier, not given."""

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class InvertedTriggers:
    """Triggers found from clean images: `images * (1 - mask) + mask * pattern`.

    Args:
        targets: `(triggers,)` integers, the class that each turns images to.
        masks: float array `(triggers, height, width, 1)` in [0, 1].
        patterns: float array `(triggers, height, width, channels)` in [0, 1].
        success: `(triggers,)` floats in [0, 1], the share of images of other
            classes that each turned to its target at the end.
        mean_sizes: `(triggers,)` floats, pixels, the size of each averaged over
            the last steps of the search, whose end is a matter of chance;
            default `sizes`.
    """

    targets: np.ndarray
    masks: np.ndarray
    patterns: np.ndarray
    success: np.ndarray
    mean_sizes: np.ndarray | None = None

    def __post_init__(self):
        if self.mean_sizes is None:
            object.__setattr__(self, "mean_sizes", self.sizes)

    @property
    def sizes(self) -> np.ndarray:
        """`(triggers,)` floats, the pixels that each replaces: sum of mask."""
        return self.masks.sum(axis=(1, 2, 3))

    def of(self, targets) -> "InvertedTriggers":
        """Those that turn images to one of `targets`."""
        return self._at(np.isin(self.targets, targets))

    def first(self, count: int) -> "InvertedTriggers":
        """The first `count` of them."""
        return self._at(slice(count))

    def _at(self, index):
        return InvertedTriggers(
            *(
                getattr(self, field.name)[index]
                for field in dataclasses.fields(self)
            )
        )


def concatenate(parts: Sequence[InvertedTriggers]) -> InvertedTriggers:
    """The triggers of all parts, in their order."""
    return InvertedTriggers(
        *(
            np.concatenate([getattr(part, field.name) for part in parts])
            for field in dataclasses.fields(InvertedTriggers)
        )
    )
