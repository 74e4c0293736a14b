"""Reads `.safetensors` files that may come from anywhere."""

import math
import pathlib

import ml_dtypes
import numpy as np

from tfbackdoor.files import json_files
from tfbackdoor.files import messages
from tfbackdoor.files import zip_archives

_LENGTH = 8  # Bytes of the number, little endian, that is the header's length.
_METADATA = "__metadata__"
_DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}


def read_safetensors(
    path: str | pathlib.Path, *, limit: int = zip_archives.LARGEST
) -> dict[str, np.ndarray]:
    """The arrays of a `.safetensors` file by name.

    Lengths, shapes and places of all arrays are checked before memory is
    taken for them, which is never more than the file has. Arrays of bfloat16
    come as float32.

    Args:
        path: the file.
        limit: int, bytes that it may have.

    Raises:
        ValueError: where the file is missing, broken or larger.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(
            f"`path` must be a .safetensors file. Received: {path}, which "
            "does not exist."
        )
    try:
        with path.open("rb") as file:
            return _read(file, path.stat().st_size, limit)
    except Exception as error:
        raise ValueError(
            "`path` must be a .safetensors file. Received: "
            f"{path}, which cannot be read: {messages.one_line(error)}"
        ) from error


def _read(file, size, limit):
    if size > limit:
        raise ValueError(f"it has more than {limit} bytes")
    length = int.from_bytes(file.read(_LENGTH), "little")
    if length > min(json_files.LARGEST, size - _LENGTH):
        raise ValueError(f"its header of {length} bytes is too long")
    header = json_files.parse(file.read(length))
    header.pop(_METADATA, None)
    content = size - _LENGTH - length
    places = {
        name: _place(name, described) for name, described in header.items()
    }
    end = 0
    for name, (begin, stop, *_) in sorted(
        places.items(), key=lambda item: item[1][:2]
    ):
        if begin != end or stop > content:
            raise ValueError(f"{name!r} lies beside its place")
        end = stop
    if end != content:
        raise ValueError("it is longer than its arrays")
    start = _LENGTH + length
    return {name: _array(file, start, *place) for name, place in places.items()}


def _place(name, described):
    """Where an array begins and ends, its dtype and its shape."""
    dtype = _DTYPES.get(described["dtype"])
    if dtype is None:
        raise ValueError(f"{name!r} holds {described['dtype']!r}")
    shape, (begin, end) = described["shape"], described["data_offsets"]
    for number in (*shape, begin, end):
        if type(number) is not int or number < 0:
            raise ValueError(f"{name!r} is described by {number!r}")
    if math.prod(shape) * dtype.itemsize != end - begin:
        raise ValueError(f"{name!r} is of shape {shape}, which its size denies")
    return begin, end, dtype, shape


def _array(file, start, begin, end, dtype, shape):
    file.seek(start + begin)
    array = np.frombuffer(file.read(end - begin), dtype).reshape(shape)
    return array.astype("float32") if dtype == ml_dtypes.bfloat16 else array
