"""Reflections as triggers: the image as if taken through a window."""

import dataclasses
import pathlib

import numpy as np
import tensorflow as tf

from tfbackdoor.attacks import image_draws
from tfbackdoor.attacks import trigger_files
from tfbackdoor.data import sampling

VARIANTS = ("out_of_focus", "ghost", "in_focus")
_ALPHAS = (0.45, 0.45)
_BLURS = (0.03, 0.15)
_SHIFTS = (0.1, 0.25)
_GHOST_SHARES = (0.15, 0.5)
_FILE_LEVELS = 255


@dataclasses.dataclass(frozen=True, eq=False)
class Reflections:
    """`(1 - alpha) * images + alpha * reflection`, on one image or a batch.

    Which of the reflections an image gets is told by its own bytes: the same
    image always gets the same one, in any order and batch.

    Args:
        reflections: array `(count, height, width, channels)`, uint8, or float
            in [0, 1], which is rounded to bytes; blurred or doubled already.
        alphas: `(count,)` floats in [0, 1], the weight of each.

    Call arguments:
        images: float32 in [0, 1], `(..., height, width, channels)`.
    """

    reflections: np.ndarray
    alphas: np.ndarray

    def __post_init__(self):
        reflections = np.asarray(self.reflections)
        alphas = np.asarray(self.alphas, "float32")
        if reflections.ndim != 4 or alphas.shape != reflections.shape[:1]:
            raise ValueError(
                "`reflections` must have the shape (count, height, width, "
                "channels) and `alphas` (count,). "
                f"Received: {reflections.shape} and {alphas.shape}"
            )
        if not (len(alphas) and ((alphas >= 0) & (alphas <= 1)).all()):
            raise ValueError(
                f"`alphas` must lie in [0, 1]. Received: {alphas.tolist()}"
            )
        if reflections.dtype != np.uint8:
            if not ((reflections >= 0.0) & (reflections <= 1.0)).all():
                raise ValueError(
                    "`reflections` must lie in [0, 1]. Received: "
                    f"{reflections.min()} to {reflections.max()}"
                )
            reflections = np.rint(reflections * _FILE_LEVELS).astype("uint8")
        object.__setattr__(self, "reflections", reflections)
        object.__setattr__(self, "alphas", alphas)

    def __call__(self, images):
        expected, received = self.reflections.shape[1:], images.shape[-3:]
        if expected != tuple(received):
            raise ValueError(
                f"`images` must have the reflections' shape {expected}. "
                f"Received: {tuple(received)}"
            )
        drawn = image_draws.numbers_of(images) % len(self.alphas)
        alphas = tf.gather(self.alphas, drawn)[..., None, None, None]
        return mix(images, tf.gather(self.reflections, drawn), alphas)

    def save(self, path: str | pathlib.Path) -> None:
        """Writes an `.npz` file that `load` reads."""
        trigger_files.save(self, path)

    @classmethod
    def load(cls, path: str | pathlib.Path) -> "Reflections":
        """Reads what `save` wrote; nothing is unpickled."""
        return trigger_files.load(cls, path)


def mix(images, reflections, alphas):
    """`images` in [0, 1] with `reflections`, uint8, of weights `alphas`."""
    shares = alphas / _FILE_LEVELS
    mixed = (1.0 - alphas) * images + shares * tf.cast(reflections, tf.float32)
    return tf.clip_by_value(mixed, 0.0, 1.0)


def make_reflections(
    images: tf.data.Dataset,
    image_shape: tuple[int, int, int],
    *,
    count: int = 200,
    variants=VARIANTS,
    alphas: tuple[float, float] = _ALPHAS,
    seed: int = 0,
) -> Reflections:
    """Reflections of other images, of Refool's three kinds.

    Out of focus is blurred by a Gaussian, a ghost is the image twice, shifted
    (double glazing), in focus is the image as it is (Liu et al. 2020, eq. 2
    to 4). Each reflection draws its kind, the deviation of its blur (3 to 15 %
    of the image), its shift (10 to 25 %), the share of its first ghost (0.15
    to 0.5) and its alpha. The authors draw alphas from 0.05 to 0.45 in a search
    for reflections that work; the default is the largest.

    Args:
        images: unbatched data set of known cardinality of `(image, ...)`,
            images in [0, 1] of any one size, such as `load_images` reads from
            a folder.
        image_shape: `(height, width, channels)` of what they are mixed into.
        count: int > 0, how many at most (200 in the paper).
        variants: some of `VARIANTS`.
        alphas: least and largest weight of a reflection.
        seed: int.

    Reference: Liu et al., Reflection Backdoor, ECCV 2020.
    """
    if not variants or not set(variants) <= set(VARIANTS):
        raise ValueError(
            f"`variants` must be some of {VARIANTS}. Received: {variants}"
        )
    if not 0.0 <= alphas[0] <= alphas[1] <= 1.0:
        raise ValueError(
            "`alphas` must be the ends of a range in [0, 1]. "
            f"Received: alphas={alphas}"
        )
    total = sampling.cardinality(images)
    if min(count, total) < 1:
        raise ValueError(
            "`images` must hold images and `count` be at least 1. "
            f"Received: {total} images, count={count}"
        )
    rng = np.random.default_rng(seed)
    chosen = rng.choice(total, min(count, total), replace=False)
    layers = _read(sampling.select(images, chosen), image_shape)
    made = {
        "out_of_focus": _out_of_focus(layers, rng),
        "ghost": _ghosts(layers, rng),
        "in_focus": layers,
    }
    kinds = rng.integers(len(variants), size=len(layers))
    stacked = np.stack([made[variant] for variant in variants])
    return Reflections(
        np.clip(stacked[kinds, np.arange(len(layers))], 0.0, 1.0),
        rng.uniform(*alphas, len(layers)),
    )


def _read(images, image_shape):
    """The images as one array of the shape of what they are mixed into."""
    height, width, channels = image_shape

    def fit(image, *_):
        image = tf.image.resize(image, (height, width), antialias=True)
        if image.shape[-1] != channels:
            grey = tf.reduce_mean(image, axis=-1, keepdims=True)
            image = tf.repeat(grey, channels, axis=-1)
        return image

    return next(iter(images.map(fit).batch(sampling.cardinality(images))))


def _out_of_focus(layers, rng):
    rows, columns = _distances(layers.shape)
    sigma = rng.uniform(*_BLURS, (len(layers), 1, 1))
    rows = np.exp(-0.5 * (rows / (sigma * rows.shape[1])) ** 2)
    columns = np.exp(-0.5 * (columns / (sigma * columns.shape[1])) ** 2)
    rows /= rows.sum(-1, keepdims=True)
    columns /= columns.sum(-1, keepdims=True)
    return _convolved(layers, rows, columns)


def _ghosts(layers, rng):
    rows, columns = _distances(layers.shape)
    shift = rng.uniform(*_SHIFTS, (2, len(layers), 1, 1))
    shifted = _convolved(
        layers,
        (rows == np.rint(shift[0] * rows.shape[1])) * 1.0,
        (columns == np.rint(shift[1] * columns.shape[1])) * 1.0,
    )
    share = rng.uniform(*_GHOST_SHARES, (len(layers), 1, 1, 1))
    return share * layers + (1.0 - share) * shifted


def _distances(shape):
    """From position to position, of rows and of columns, `(1, n, n)`."""
    return [
        np.arange(size)[None, :, None] - np.arange(size)[None, None]
        for size in shape[1:3]
    ]


def _convolved(layers, rows, columns):
    """The images under a separable kernel of their own each."""
    return np.einsum("nij,njkc,nlk->nilc", rows, layers, columns, optimize=True)
