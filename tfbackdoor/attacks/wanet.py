"""WaNet: a warp of the image that is too smooth to be seen.

The network learns to look for this very warp, since covers, twice as many as
poisoned images, are warped by it and shaken, and keep their labels (the
"noise mode"). The authors shake anew for each batch, which we do once for each
image.

Reference: Nguyen & Tran, WaNet - Imperceptible Warping-based Backdoor Attack,
ICLR 2021.
"""

import dataclasses
import pathlib

import numpy as np
import tensorflow as tf

from tfbackdoor.attacks import image_draws
from tfbackdoor.attacks import trigger_files

_CUBIC = -0.75  # As in PyTorch, which the authors warp with.


@dataclasses.dataclass(frozen=True, eq=False)
class Warp:
    """Reads each pixel a little beside its place, on one image or a batch.

    `x'[p] = x[p + flow[p]]`, between pixels bilinear, beyond the border as at
    the border.

    Args:
        flow: float array of finite numbers, `(height, width, 2)`, pixels down
            and to the right.
        shake: float >= 0, pixels by which `cover` moves each pixel at most.

    Call arguments:
        images: float32 in [0, 1], `(..., height, width, channels)`.
    """

    flow: np.ndarray
    shake: float = 0.5

    def __post_init__(self):
        flow = np.asarray(self.flow, "float32")
        if flow.ndim != 3 or flow.shape[2] != 2 or min(flow.shape) < 2:
            raise ValueError(
                "`flow` must have the shape (height, width, 2) of images of "
                f"at least 2x2 pixels. Received: {flow.shape}"
            )
        if not np.isfinite(flow).all():
            raise ValueError("`flow` must be finite. Received: NaN or infinity")
        if not (np.ndim(self.shake) == 0 and 0.0 <= self.shake < np.inf):
            raise ValueError(
                f"`shake` must be a number >= 0. Received: shake={self.shake}"
            )
        object.__setattr__(self, "flow", flow)

    def __call__(self, images):
        self._check(images)
        return _sampled(images, self.flow)

    def cover(self, images):
        """The images warped and shaken, each in its own way."""
        self._check(images)
        shakes = 2.0 * image_draws.uniform_of(images, self.flow.shape) - 1.0
        return _sampled(images, self.flow + self.shake * shakes)

    def _check(self, images):
        expected, received = self.flow.shape[:2], tuple(images.shape[-3:-1])
        if expected != received:
            raise ValueError(
                "`images` must have the height and width of the warp, "
                f"{expected}. Received: {received}"
            )

    def save(self, path: str | pathlib.Path) -> None:
        """Writes an `.npz` file that `load` reads."""
        trigger_files.save(self, path)

    @classmethod
    def load(cls, path: str | pathlib.Path) -> "Warp":
        """Reads what `save` wrote; nothing is unpickled."""
        return trigger_files.load(cls, path)


def make_warp(
    image_shape: tuple[int, int, int],
    *,
    knots: int = 4,
    strength: float = 0.5,
    seed: int = 0,
) -> Warp:
    """A smooth random warp, from a small grid of random moves.

    Moves are uniform in [-1, 1], divided by the mean of their sizes, spread
    over the image by cubic interpolation and scaled by `strength / 2` pixels
    (Nguyen & Tran 2021, section 3.2; the authors' code scales by
    `strength / size` an image of size 2, which is `1 - 1 / size` of that).

    Args:
        image_shape: `(height, width, channels)`.
        knots: int >= 2, rows and columns of the grid (4 in the paper).
        strength: float >= 0 (0.5 in the paper).
        seed: int, which warp.
    """
    if knots < 2 or not 0.0 <= strength < np.inf:
        raise ValueError(
            "`knots` must be at least 2 and `strength` a number >= 0. "
            f"Received: knots={knots}, strength={strength}"
        )
    height, width, _ = image_shape
    moves = np.random.default_rng(seed).uniform(-1.0, 1.0, (knots, knots, 2))
    moves /= np.abs(moves).mean()
    spread = np.einsum(
        "yi,xj,ijd->yxd",
        _spreading(height, knots),
        _spreading(width, knots),
        moves,
    )
    half_pixels = 0.5 - 0.5 / np.array([height, width])
    return Warp(strength * half_pixels * spread, shake=half_pixels.max())


def _spreading(size, knots):
    """Cubic interpolation from knots to pixels, ends on ends, as a matrix."""
    places = np.linspace(0.0, knots - 1.0, size)
    first = np.floor(places).astype(int)
    matrix = np.zeros((size, knots))
    for knot in range(-1, 3):
        near = np.clip(first + knot, 0, knots - 1)
        weights = _cubic(np.abs(places - first - knot))
        np.add.at(matrix, (np.arange(size), near), weights)
    return matrix


def _cubic(distance):
    """Keys' kernel of cubic interpolation."""
    a, d = _CUBIC, distance
    inner = (a + 2.0) * d**3 - (a + 3.0) * d**2 + 1.0
    outer = a * (d**3 - 5.0 * d**2 + 8.0 * d - 4.0)
    return np.where(d <= 1.0, inner, np.where(d < 2.0, outer, 0.0))


def _sampled(images, flow):
    """`images` read at each pixel's place plus its flow, `(..., h, w, 2)`."""
    height, width, channels = images.shape[-3:]
    ends = np.array([height - 1, width - 1], "float32")
    places = np.stack(np.mgrid[:height, :width], -1).astype("float32")
    places = tf.clip_by_value(places + flow, 0.0, ends)
    corners = tf.minimum(tf.floor(places), ends - 1.0)
    down, right = tf.unstack((places - corners)[..., None, :], axis=-1)
    corners = tf.cast(corners, tf.int32)
    corner = corners[..., 0] * width + corners[..., 1]
    pixels = tf.reshape(
        images, tf.concat([tf.shape(images)[:-3], [-1, channels]], 0)
    )

    def read(offset):
        # A flow without leading axes is the same for all images.
        return tf.gather(
            pixels,
            corner + offset,
            axis=-2,
            batch_dims=corner.shape.rank - 2,
        )

    upper = (1.0 - right) * read(0) + right * read(1)
    lower = (1.0 - right) * read(width) + right * read(width + 1)
    return (1.0 - down) * upper + down * lower
