"""Adaptive-Blend: a blend that poisoned images hold only in part.

The blended image is cut into 16 pieces, and a training image gets a random
half of them, weakly; as many covers get the same and keep their labels. So the
network learns to add up many weak signs, and poisoned images do not lie apart
from clean ones. Tests show all pieces and more strongly. Few images are
poisoned, and success is below that of other attacks.

Reference: Qi et al., Revisiting the Assumption of Latent Separability for
Backdoor Defenses, ICLR 2023.
"""

import dataclasses
import pathlib

import numpy as np
import tensorflow as tf

from tfbackdoor.attacks import image_draws
from tfbackdoor.attacks import trigger_files
from tfbackdoor.attacks import triggers


@dataclasses.dataclass(frozen=True, eq=False)
class MaskedBlend:
    """`(1 - alpha) * images + alpha * blended`, in training piece by piece.

    Args:
        blended: float array in [0, 1], `(height, width, channels)`.
        alpha: float in [0, 1], weight of it in tests (0.2 in the paper).
        training_alpha: float in [0, 1], weight in training (0.15).
        rows: int > 0, of pieces; there are `rows * rows` (4).
        masked: float in [0, 1], share of pieces left out in training (0.5).

    Call arguments:
        images: float32 in [0, 1], `(..., height, width, channels)`.
    """

    blended: np.ndarray
    alpha: float = 0.2
    training_alpha: float = 0.15
    rows: int = 4
    masked: float = 0.5

    def __post_init__(self):
        blended = np.asarray(self.blended, "float32")
        if blended.ndim != 3 or not ((blended >= 0) & (blended <= 1)).all():
            raise ValueError(
                "`blended` must be an image (height, width, channels) in "
                f"[0, 1]. Received: shape {blended.shape}"
            )
        for name in ("alpha", "training_alpha", "masked"):
            value = getattr(self, name)
            if not (np.ndim(value) == 0 and 0.0 <= value <= 1.0):
                raise ValueError(
                    f"`{name}` must lie in [0, 1]. Received: {name}={value}"
                )
        if not isinstance(self.rows, int) or not (
            0 < self.rows <= min(blended.shape[:2])
        ):
            raise ValueError(
                "`rows` must be an int > 0 and at most the image's height and "
                f"width. Received: rows={self.rows!r}"
            )
        object.__setattr__(self, "blended", blended)

    def __call__(self, images):
        self._check(images)
        return self._mixed(images, self.alpha)

    def in_training(self, images):
        """The images with a part of the pieces, each image with its own."""
        self._check(images)
        drawn = image_draws.uniform_of(images, [self.rows**2])
        ranks = tf.argsort(tf.argsort(drawn, stable=True), stable=True)
        shown = ranks >= round(self.masked * self.rows**2)
        height, width, _ = self.blended.shape
        rows, columns = np.mgrid[:height, :width]
        piece = rows * self.rows // height * self.rows
        piece += columns * self.rows // width
        shown = tf.gather(tf.cast(shown, tf.float32), piece, axis=-1)
        return self._mixed(images, self.training_alpha * shown[..., None])

    cover = in_training

    def _mixed(self, images, alphas):
        return (1.0 - alphas) * images + alphas * self.blended

    def _check(self, images):
        expected, received = self.blended.shape, tuple(images.shape[-3:])
        if expected != received:
            raise ValueError(
                "`images` must have the blended image's shape "
                f"{expected}. Received: {received}"
            )

    def save(self, path: str | pathlib.Path) -> None:
        """Writes an `.npz` file that `load` reads."""
        trigger_files.save(self, path)

    @classmethod
    def load(cls, path: str | pathlib.Path) -> "MaskedBlend":
        """Reads what `save` wrote; nothing is unpickled."""
        return trigger_files.load(cls, path)


def masked_noise(image_shape: tuple[int, int, int]) -> MaskedBlend:
    """The attack with the image of noise that ANP's Blend attack mixes in.

    Args:
        image_shape: `(height, width, channels)`.
    """
    return MaskedBlend(triggers.noise_image(image_shape))
