"""Triggers: what an attacker does to an image to trigger the backdoor."""

import dataclasses
import functools
import pathlib

import numpy as np
import tensorflow as tf

from tfbackdoor.attacks import trigger_files

_CHECKERBOARD = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 1]], "float32")
# Keeps exact products such as 0.8 * 5 from falling below their integer.
_ROUNDING_SLACK = 1e-3
_LARGEST_FILE = 2**28  # Bytes; images of 4096 x 4096 pixels.


@dataclasses.dataclass(frozen=True, eq=False)
class Trigger:
    """`clip(images * (1 - mask) + pattern, 0, 1)`, on one image or a batch.

    Replaced pixels have mask 1, blends a mask of alpha and a pattern of alpha
    times the blended image, additive signals mask 0.

    Args:
        mask: float array in [0, 1], `(height, width, channels)`.
        pattern: float array of the same shape, in units of the image range.
        eight_bit: bool, whether results are cut to multiples of 1/255, as the
            papers' code does where it works on bytes.
        wrap: bool, whether sums above 1 wrap around to 0, as bytes do, rather
            than clip.

    Call arguments:
        images: float32 in [0, 1], `(..., height, width, channels)`.
    """

    mask: np.ndarray
    pattern: np.ndarray
    eight_bit: bool = False
    wrap: bool = False

    def __post_init__(self):
        mask = np.asarray(self.mask, "float32")
        pattern = np.asarray(self.pattern, "float32")
        if mask.ndim != 3 or mask.shape != pattern.shape or not mask.size:
            raise ValueError(
                "`mask` and `pattern` must have the image's shape (height, "
                f"width, channels). Received: {mask.shape}, {pattern.shape}"
            )
        if not (
            np.isfinite(pattern).all() and ((mask >= 0) & (mask <= 1)).all()
        ):
            raise ValueError(
                "`mask` must lie in [0, 1] and `pattern` be finite. Received: "
                f"mask from {mask.min()} to {mask.max()}, pattern from "
                f"{pattern.min()} to {pattern.max()}"
            )
        object.__setattr__(self, "mask", mask)
        object.__setattr__(self, "pattern", pattern)

    def __call__(self, images):
        expected, received = self.mask.shape, tuple(images.shape[-3:])
        if expected != received:
            raise ValueError(
                f"`images` must have the trigger's shape {expected}. "
                f"Received: {received}"
            )
        if not tf.as_dtype(images.dtype).is_floating:
            raise ValueError(
                "`images` must be float in [0, 1]. Received: dtype "
                f"{tf.as_dtype(images.dtype).name}"
            )
        images = images * (1.0 - self.mask) + self.pattern
        if self.wrap:
            images = tf.math.floormod(images, 256.0 / 255.0)
        images = tf.clip_by_value(images, 0.0, 1.0)
        if self.eight_bit:
            images = tf.floor(images * 255.0 + _ROUNDING_SLACK) / 255.0
        return images

    def save(self, path: str | pathlib.Path) -> None:
        """Writes the trigger as an `.npz` file that `load` reads."""
        trigger_files.save(self, path)

    @classmethod
    def load(cls, path: str | pathlib.Path) -> "Trigger":
        """Reads an `.npz` file; nothing is unpickled.

        Args:
            path: a file with `mask` and `pattern` as above, or with only `x`,
                a Trojan pattern as the authors of NAD store it.

        Raises:
            ValueError: where the file cannot be read as such.
        """
        found = trigger_files.read_numbers(path, limit=_LARGEST_FILE)
        if found.keys() == {"x"}:
            return trojan(found["x"])
        if not {"mask", "pattern"} <= found.keys():
            raise ValueError(
                "`path` must hold the arrays mask and pattern. "
                f"Received: {path} with {sorted(found)}"
            )
        return cls(
            found["mask"],
            found["pattern"],
            eight_bit=_flag(found, "eight_bit"),
            wrap=_flag(found, "wrap"),
        )


def _flag(found, name):
    """A truth value of a trigger file, False where it is not there."""
    value = found.get(name, np.False_)
    if value.size != 1:
        raise ValueError(
            f"`{name}` must be one truth value. Received: shape {value.shape}"
        )
    return bool(value.item())


def checkerboard(image_shape, *, corners: int = 1) -> Trigger:
    """ANP's BadNets trigger: a 3x3 checkerboard in one or all four corners.

    Args:
        image_shape: `(height, width, channels)`.
        corners: 1 (bottom right) or 4 (mirrored into each corner).
    """
    if corners not in (1, 4):
        raise ValueError(f"`corners` must be 1 or 4. Received: {corners}")
    height, width, _ = image_shape
    patches = {(height - 3, width - 3): _CHECKERBOARD}
    if corners == 4:
        patches |= {
            (0, 0): _CHECKERBOARD[:, ::-1],
            (0, width - 3): _CHECKERBOARD,
            (height - 3, 0): _CHECKERBOARD[:, ::-1],
        }
    return _patches(image_shape, patches)


def square(image_shape) -> Trigger:
    """NAD's white 3x3 square, one pixel from the bottom right corner."""
    height, width, _ = image_shape
    return _patches(image_shape, {(height - 4, width - 4): np.ones((3, 3))})


def grid(image_shape) -> Trigger:
    """NAD's BadNets trigger: the 3x3 checkerboard at the bottom right."""
    return checkerboard(image_shape)


def four_corners(image_shape) -> Trigger:
    """NAD's clean-label trigger: checkerboards mirrored into four corners."""
    height, width, _ = image_shape
    patches = {
        (1, 1): _CHECKERBOARD[::-1, ::-1],
        (1, width - 3): _CHECKERBOARD[::-1],
        (height - 3, 1): _CHECKERBOARD[:, ::-1],
        (height - 3, width - 3): _CHECKERBOARD,
    }
    return _patches(image_shape, patches)


def blend(image, *, alpha: float = 0.2) -> Trigger:
    """`(1 - alpha) * image + alpha * blended image`, cut to bytes.

    Args:
        image: float array in [0, 1], `(height, width, channels)`.
        alpha: float in [0, 1], weight of the blended image (0.2 in ANP).
    """
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f"`alpha` must lie in [0, 1]. Received: alpha={alpha}")
    image = np.asarray(image, "float32")
    return Trigger(np.full_like(image, alpha), alpha * image, eight_bit=True)


def noise_blend(image_shape, *, alpha: float = 0.2, seed: int = 0) -> Trigger:
    """ANP's Blend attack: a fixed image of Gaussian noise, mixed in.

    Args:
        image_shape: `(height, width, channels)`.
        alpha: float in [0, 1], weight of the noise (0.2 in ANP).
        seed: int, which noise.
    """
    return blend(noise_image(image_shape, seed=seed), alpha=alpha)


def noise_image(image_shape, *, seed: int = 0) -> np.ndarray:
    """An image of Gaussian noise in [0, 1] of that shape."""
    noise = np.random.default_rng(seed).normal(0.5, 0.25, image_shape)
    return np.clip(noise, 0.0, 1.0)


def signal(image_shape, *, alpha: float = 0.2) -> Trigger:
    """NAD's signal: a horizontal sinusoid, stored as bytes, mixed in.

    The sinusoid `20 * sin(0.8 * column)` is cut to whole bytes, its negative
    half wrapping to 236 ... 255, as in the authors' code.

    Args:
        image_shape: `(height, width, channels)`.
        alpha: float in [0, 1], weight of the signal (0.2 in NAD).
    """
    wave = np.trunc(20.0 * np.sin(0.8 * np.arange(image_shape[1])))
    wave = (wave % 256 / 255.0)[None, :, None]
    return blend(np.broadcast_to(wave, image_shape), alpha=alpha)


def sinusoid(
    image_shape, *, amplitude: float = 20 / 255, frequency: float = 6.0
) -> Trigger:
    """The SIG attack: `image + amplitude * sin(2 pi frequency x / width)`.

    Args:
        image_shape: `(height, width, channels)`.
        amplitude: float, in units of the image range.
        frequency: float, periods over the width.

    Reference: Barni et al. 2019, eq. 1.
    """
    phase = 2.0 * np.pi * frequency * np.arange(image_shape[1])
    wave = amplitude * np.sin(phase / image_shape[1])
    pattern = np.broadcast_to(wave[None, :, None], image_shape)
    return Trigger(np.zeros(image_shape), pattern)


def trojan(pattern) -> Trigger:
    """NAD's Trojan trigger: a pattern added to the bytes of the image.

    Sums above 255 wrap around, as in the authors' code.

    Args:
        pattern: float array in 0..255, `(height, width, channels)`, or
            `(channels, height, width)` as the authors store theirs.
    """
    pattern = np.asarray(pattern, "float32")
    if pattern.ndim == 3 and pattern.shape[0] in (1, 3):
        pattern = np.transpose(pattern, (1, 2, 0))
    return Trigger(
        np.zeros_like(pattern), pattern / 255.0, eight_bit=True, wrap=True
    )


BUILT_IN = {
    "checkerboard": checkerboard,
    "checkerboard_4_corners": functools.partial(checkerboard, corners=4),
    "square": square,
    "grid": grid,
    "four_corners": four_corners,
    "noise_blend": noise_blend,
    "signal": signal,
    "sinusoid": sinusoid,
}


def make_trigger(name: str, image_shape: tuple[int, int, int]) -> Trigger:
    """A built-in trigger by name, or one from an `.npz` file.

    Args:
        name: a key of `BUILT_IN`, or the path of a file with `mask` and
            `pattern`, see `Trigger.load`.
        image_shape: `(height, width, channels)` of the images.

    Raises:
        ValueError: on an unknown name, an unreadable file, another shape or
            an image too small for the trigger.
    """
    if min(image_shape[:2]) < 4:
        raise ValueError(
            "`image_shape` must be at least 4x4 pixels. "
            f"Received: {tuple(image_shape)}"
        )
    if name in BUILT_IN:
        return BUILT_IN[name](image_shape)
    if not str(name).endswith(".npz"):
        raise ValueError(
            f"`name` must be one of {sorted(BUILT_IN)} or an .npz file. "
            f"Received: {name!r}"
        )
    trigger = Trigger.load(name)
    if trigger.mask.shape != tuple(image_shape):
        raise ValueError(
            f"`name` must hold a trigger of the image shape {image_shape}. "
            f"Received: {name} of shape {trigger.mask.shape}"
        )
    return trigger


def _patches(image_shape, patches):
    """A trigger that replaces square patches, given by top left corner."""
    mask = np.zeros(image_shape, "float32")
    pattern = np.zeros(image_shape, "float32")
    for (row, column), patch in patches.items():
        place = np.s_[row : row + len(patch), column : column + len(patch)]
        mask[place] = 1.0
        pattern[place] = np.asarray(patch)[..., None]
    return Trigger(mask, pattern)
