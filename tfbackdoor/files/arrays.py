"""Reads `.npz` files that may come from anywhere."""

import math
import pathlib

import numpy as np

from tfbackdoor.files import messages
from tfbackdoor.files import zip_archives

_HEADER_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_KINDS = "biufUS"
_LARGEST_NUMBER = 8  # Bytes; beyond are numpy's platform-dependent types.


def read_arrays(
    path: str | pathlib.Path, *, limit: int = zip_archives.LARGEST
) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` file by name; nothing is unpickled.

    The shape and kind of each array are checked before memory is taken.

    Args:
        path: the file.
        limit: int, bytes that all arrays may take.

    Raises:
        ValueError: where the file is missing or broken, holds anything else
            than numbers and strings, or unpacks to more than `limit` or out
            of proportion to its size.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(
            f"`path` must be an .npz file. Received: {path}, which does not "
            "exist."
        )
    try:
        with zip_archives.open_archive(path, limit=limit) as archive:
            return {
                member.filename.removesuffix(".npy"): _read(archive, member)
                for member in archive.infolist()
            }
    except Exception as error:
        raise ValueError(
            "`path` must be an .npz file of plain arrays. "
            f"Received: {path}, which cannot be read: "
            f"{messages.one_line(error)}"
        ) from error


def _read(archive, member):
    with archive.open(member) as file:
        _check_header(file, member)
    with archive.open(member) as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
        if file.read(1):
            raise ValueError(f"{member.filename!r} is longer than its array")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _check_header(file, member):
    """Raises ValueError unless the header describes the bytes after it."""
    version = np.lib.format.read_magic(file)
    if version not in _HEADER_READERS:
        raise ValueError(f"{member.filename!r} is of format {version}")
    shape, _, dtype = _HEADER_READERS[version](file)
    if dtype.kind not in _KINDS or dtype.itemsize == 0:
        raise ValueError(f"{member.filename!r} holds {dtype}, not numbers")
    if dtype.kind not in "US" and dtype.itemsize > _LARGEST_NUMBER:
        raise ValueError(f"{member.filename!r} holds {dtype}")
    size = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or size != member.file_size - file.tell():
        raise ValueError(
            f"{member.filename!r} is of shape {shape}, which its size denies"
        )
