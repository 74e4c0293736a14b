"""Triggers that were found in a classifier, not given."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class InvertedTriggers:
    """Triggers found from clean images: `images * (1 - mask) + mask * pattern`.

    Args:
        targets: `(triggers,)` integers, the class each of them calls.
        masks: float array `(triggers, height, width, 1)` in [0, 1].
        patterns: float array `(triggers, height, width, channels)` in [0, 1].
        success: `(triggers,)` floats in [0, 1], the share of images of other
            classes that each turned to its target at the end.
    """

    targets: np.ndarray
    masks: np.ndarray
    patterns: np.ndarray
    success: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """`(triggers,)` floats, the pixels that each replaces: sum of mask."""
        return self.masks.sum(axis=(1, 2, 3))

    def of(self, targets) -> "InvertedTriggers":
        """Those that call one of `targets`."""
        kept = np.isin(self.targets, targets)
        return InvertedTriggers(
            self.targets[kept],
            self.masks[kept],
            self.patterns[kept],
            self.success[kept],
        )
