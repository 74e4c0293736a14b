"""BPP: the image in few colours, dithered so that the eye does not mind.

Covers are images with changes as large as the dithering's, but in the wrong
places, and keep their labels. The authors take the changes of other images;
ours are the image's own, mirrored.

Reference: Wang et al., BppAttack: Stealthy and Efficient Trojan Attacks
against Deep Neural Networks via Image Quantization and Contrastive Adversarial
Learning, CVPR 2022.
"""

import dataclasses
import pathlib

import numpy as np
import tensorflow as tf

from tfbackdoor.attacks import trigger_files

_RIGHT, _LOWER_RIGHT, _LOWER, _LOWER_LEFT = 7 / 16, 1 / 16, 5 / 16, 3 / 16


@dataclasses.dataclass(frozen=True)
class Dithering:
    """Rounds each channel to few levels and hands each pixel's error on.

    Floyd and Steinberg's error diffusion, pixel by pixel from the top left:
    7/16 of the error go to the right, 3/16, 5/16 and 1/16 to the three pixels
    below. On one image or a batch, of any size.

    Args:
        levels: int, 2 to 256, levels of each channel (8 in the paper).

    Call arguments:
        images: float32 in [0, 1], `(..., height, width, channels)`.
    """

    levels: int = 8

    def __post_init__(self):
        levels = self.levels
        if not isinstance(levels, int) or not 2 <= levels <= 256:
            raise ValueError(
                f"`levels` must be an int from 2 to 256. Received: {levels!r}"
            )

    def __call__(self, images):
        height, width, channels = images.shape[-3:]
        order, inside, back = _diagonals(height, width)
        pixels = tf.reshape(images, [-1, height * width, channels])
        # By diagonal, image, row and channel.
        pixels = tf.transpose(tf.gather(pixels, order, axis=1), [1, 0, 2, 3])
        nothing = tf.zeros_like(pixels[0])
        rounded, *_ = tf.scan(
            self._round, (pixels, tf.constant(inside)), (nothing,) * 4
        )
        rounded = tf.transpose(rounded, [1, 0, 2, 3])
        rounded = tf.reshape(rounded, [-1, order.size, channels])
        return tf.reshape(tf.gather(rounded, back, axis=1), tf.shape(images))

    def _round(self, state, diagonal):
        """One diagonal from the errors of the three before."""
        _, last, second_last, third_last = state
        pixels, inside = diagonal
        # In the order in which these come from pixel to pixel.
        pixels += _LOWER_RIGHT * _from_above(third_last)
        pixels += _LOWER * _from_above(second_last)
        pixels += _LOWER_LEFT * _from_above(last)
        pixels += _RIGHT * last
        top = self.levels - 1.0
        rounded = tf.clip_by_value(tf.round(pixels * top), 0.0, top) / top
        errors = tf.where(inside, pixels - rounded, 0.0)
        return rounded, errors, last, second_last

    def cover(self, images):
        """The images with the dithering's changes mirrored."""
        changes = self(images) - images
        return tf.clip_by_value(images + changes[..., ::-1, :], 0.0, 1.0)

    def save(self, path: str | pathlib.Path) -> None:
        """Writes an `.npz` file that `load` reads."""
        trigger_files.save(self, path)

    @classmethod
    def load(cls, path: str | pathlib.Path) -> "Dithering":
        """Reads what `save` wrote; nothing is unpickled."""
        return trigger_files.load(cls, path)


def _from_above(errors):
    """What row by row comes from the row above, nothing for the first."""
    return tf.pad(errors[:, :-1], [[0, 0], [1, 0], [0, 0]])


def _diagonals(height, width):
    """Where pixels lie whose errors are known at the same time.

    Pixel (y, x) takes errors from (y, x - 1) and (y - 1, x - 1 ... x + 1), all
    on earlier diagonals x + 2 y, so that each diagonal is rounded at once.

    Returns:
        For each diagonal and row the pixel, and whether there is one,
        `(diagonals, height)` and `(diagonals, 1, height, 1)`; for each pixel
        its place among those, `(height * width,)`.
    """
    rows, columns = np.mgrid[:height, :width]
    diagonals = columns + 2 * rows
    order = np.zeros((diagonals.max() + 1, height), int)
    inside = np.zeros(order.shape, bool)
    order[diagonals, rows] = rows * width + columns
    inside[diagonals, rows] = True
    back = (diagonals * height + rows).reshape(-1)
    return order, inside[:, None, :, None], back
