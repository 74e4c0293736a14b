"""Triggers as `.npz` files of their fields, which may come from anywhere."""

import dataclasses
import pathlib

import numpy as np

from tfbackdoor.files import arrays
from tfbackdoor.files import zip_archives


def save(trigger, path: str | pathlib.Path) -> None:
    """Writes the fields of a dataclass as arrays that `load` reads."""
    np.savez_compressed(path, **dataclasses.asdict(trigger))


def load(kind, path: str | pathlib.Path):
    """Reads what `save` wrote; nothing is unpickled.

    Raises:
        ValueError: where the file cannot be read as such.
    """
    found = read_numbers(path)
    names = [field.name for field in dataclasses.fields(kind)]
    if not found.keys() >= set(names):
        raise ValueError(
            f"`path` must hold the arrays {names}. "
            f"Received: {path} with {sorted(found)}"
        )
    return kind(
        **{
            name: found[name] if found[name].ndim else found[name].item()
            for name in names
        }
    )


def read_numbers(
    path: str | pathlib.Path, *, limit: int = zip_archives.LARGEST
) -> dict[str, np.ndarray]:
    """The arrays of a file, none of which may be text; see `read_arrays`."""
    found = arrays.read_arrays(path, limit=limit)
    if strange := [
        name for name, array in found.items() if array.dtype.kind in "US"
    ]:
        raise ValueError(
            f"`path` must hold arrays of numbers. Received: {path} with "
            f"text in {strange}"
        )
    return found
