"""Image files: kind and size, told from their headers before decoding."""

import pathlib
import stat
import warnings
from typing import BinaryIO

from PIL import JpegImagePlugin
from PIL import PngImagePlugin

LARGEST_FILE = 64 * 2**20  # Bytes.
MOST_PIXELS = 2**25  # Of one image; 33 megapixels, 100 MB as RGB bytes.
MOST_BYTES = 64 * 2**30  # Of a whole set as RGB bytes.
_SUFFIXES = (".jpg", ".jpeg", ".png")
# By kind and not by `Image.open`, which hides the size of what it refuses.
_HEADER_READERS = (
    PngImagePlugin.PngImageFile,
    JpegImagePlugin.JpegImageFile,
)


def check_folder(
    split: pathlib.Path, *, image_size: tuple[int, int] | None = None
) -> tuple[int, int] | None:
    """Checks all images of a folder `<class>/<image file>`.

    Reads some bytes of each and decodes none.

    Args:
        split: the folder.
        image_size: `(height, width)` that the images will be resized to, or
            None where they must be of one size.

    Returns:
        `(height, width)` of the first image, None where there is none.

    Raises:
        ValueError: where a file is no PNG or JPEG, too large, of more pixels
            than fit, or of another size than the first.
    """
    total, first = 0, None
    for path in _files(split):
        try:
            size = image_dimensions(path)
        except OSError as error:
            raise ValueError(
                f"`source` must hold readable images. Received: {_shown(path)},"
                f" which fails with: {error.strerror}"
            ) from error
        first = first or size
        if image_size is None and size != first:
            raise ValueError(
                "`source` must hold images of one size where `image_size` is "
                f"not given. Received: {_shown(path)} of {size} pixels after "
                f"{first}"
            )
        height, width = image_size or size
        total += 3 * height * width
        if total > MOST_BYTES:
            raise ValueError(
                f"`source` must hold images of at most {MOST_BYTES} bytes "
                f"together, decoded. Received: {_shown(split)}; give a smaller "
                "`image_size`."
            )
    return first


def image_dimensions(path: pathlib.Path) -> tuple[int, int]:
    """`(height, width)` that the header of a PNG or JPEG file declares.

    Raises:
        ValueError: where it is neither, or too large.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # A pipe or device may never end.
        raise ValueError(
            f"`source` must hold image files. Received: {_shown(path)}, which "
            "is no regular file."
        )
    if status.st_size > LARGEST_FILE:
        raise ValueError(
            f"`source` must hold files of at most {LARGEST_FILE} bytes. "
            f"Received: {_shown(path)} of {status.st_size}"
        )
    with open(path, "rb") as file:
        return declared_dimensions(file, path)


def declared_dimensions(file: BinaryIO, name) -> tuple[int, int]:
    """As `image_dimensions`, of an open file that the message calls `name`."""
    size = _dimensions(file)
    if size is None:
        raise ValueError(
            "`source` must hold PNG or JPEG images. "
            f"Received: {_shown(name)}, which is neither or broken."
        )
    if size[0] * size[1] > MOST_PIXELS:
        raise ValueError(
            f"`source` must hold images of at most {MOST_PIXELS} pixels. "
            f"Received: {_shown(name)} of {size[0]} x {size[1]}"
        )
    return size


def _files(split):
    """What is taken for an image: files in the folders of the classes."""
    for folder in sorted(p for p in split.iterdir() if p.is_dir()):
        for path in sorted(folder.iterdir()):
            try:
                str(path).encode()
            except UnicodeEncodeError as error:
                raise ValueError(
                    "`source` must hold files with names in UTF-8. "
                    f"Received: {_shown(path)}"
                ) from error
            if path.name.lower().endswith(_SUFFIXES):
                yield path


def _dimensions(file):
    """`(height, width)`, None of what neither reader takes for an image."""
    for read_header in _HEADER_READERS:
        file.seek(0)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                width, height = read_header(file).size
        except Exception:  # Whatever broken bytes do to a reader.
            continue
        return height, width
    return None


def _shown(path):
    return ascii(str(path))[1:-1]
