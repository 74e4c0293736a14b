"""Images of any kind as pictures that a page can hold."""

import base64
import io

import numpy as np

_LARGEST_SIDE = 128


def picture(image) -> str:
    """A PNG as a data URI, made smaller to at most 128 pixels a side.

    Args:
        image: array `(height, width)` or `(height, width, channels)` in
            [0, 1]; see `shown_channels` for what is shown of its channels.
    """
    # Pillow takes a while to import: only where a picture is made.
    from PIL import Image

    values = np.nan_to_num(np.asarray(image, "float32"))
    levels = np.round(np.clip(_shown(values), 0.0, 1.0) * 255.0)
    made = Image.fromarray(levels.astype("uint8"))
    made.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
    stream = io.BytesIO()
    made.save(stream, "png")
    return data_uri(stream.getvalue(), "image/png")


def heat_map(values) -> str:
    """A picture of values, from dark at the least to bright at the most.

    Args:
        values: nested lists or array `(height, width)` or `(positions,)` of
            any range.
    """
    # Matplotlib takes a second to import: only where it is needed.
    import matplotlib

    values = np.atleast_2d(np.nan_to_num(np.array(values, float)))
    shares = (values - values.min()) / (np.ptp(values) or 1.0)
    return picture(matplotlib.colormaps["inferno"](shares)[..., :3])


def is_drawable(shape: tuple[int, ...]) -> bool:
    """Whether images of `shape`, without the batch, have a picture."""
    return len(shape) in (2, 3) and min(shape) > 0


def shown_channels(shape: tuple[int, ...]) -> str:
    """What a picture shows of the channels of images of `shape`, in words.

    Args:
        shape: of an image, without the batch.

    Returns:
        A sentence; `""` of 1 and 3 channels, which are shown as they are.
    """
    channels = shape[2] if len(shape) == 3 else 1
    if channels == 2:
        return "Of 2 channels the first is shown, as grey."
    if channels == 4:
        return "Of 4 channels the first 3 are shown, as red, green and blue."
    if channels > 4:
        return f"Of {channels} channels their mean is shown, as grey."
    return ""


def data_uri(content: bytes, kind: str) -> str:
    """`content` as an address that holds it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _shown(image):
    """Grey `(height, width)` or colours `(height, width, 3)`."""
    channels = image.shape[2] if image.ndim == 3 else 0
    if channels in (1, 2):
        return image[..., 0]
    if channels in (3, 4):
        return image[..., :3]
    return image.mean(axis=2) if channels else image
