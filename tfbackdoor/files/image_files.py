"""Image files: kind and size, told from their headers before decoding."""

import pathlib
import stat
import struct
from typing import BinaryIO

LARGEST_FILE = 64 * 2**20  # Bytes.
MOST_PIXELS = 2**25  # Of one image; 33 megapixels, 100 MB as RGB bytes.
MOST_BYTES = 64 * 2**30  # Of a whole set as RGB bytes.
_SUFFIXES = (".jpg", ".jpeg", ".png")
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_MARKERS_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}
# Start of frame: baseline to progressive, but not DHT, JPG and DAC.
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_SCAN, _END = 0xDA, 0xD9


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
    if size is None or min(size) < 1:
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
    start = file.read(24)
    if start.startswith(_PNG):
        if len(start) < 24 or start[12:16] != b"IHDR":
            return None
        width, height = struct.unpack(">II", start[16:24])
        return height, width
    if start.startswith(_JPEG):
        file.seek(2)
        return _jpeg_dimensions(file)
    return None


def _jpeg_dimensions(file):
    """The size in the frame header, found from segment to segment."""
    while True:
        if file.read(1) != b"\xff":
            return None
        marker = b"\xff"
        while marker == b"\xff":  # Any number of fill bytes.
            marker = file.read(1)
        if not marker or marker[0] in (_SCAN, _END):
            return None
        if marker[0] in _MARKERS_WITHOUT_LENGTH:
            continue
        header = file.read(7)
        if len(header) < 7:
            return None
        if marker[0] in _FRAMES:
            return struct.unpack(">HH", header[3:7])
        file.seek(max(struct.unpack(">H", header[:2])[0], 2) - 7, 1)


def _shown(path):
    return ascii(str(path))[1:-1]
