"""Reads `.npz` files that may come from anywhere."""

import pathlib

import numpy as np


def read_arrays(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` file by name; nothing is unpickled.

    Raises:
        ValueError: where the file is missing, broken or holds objects.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(
            f"`path` must be an .npz file. Received: {path}, which does not "
            "exist."
        )
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as npz:
            return {name: npz[name] for name in npz.files}
    except Exception as error:
        raise ValueError(
            "`path` must be an .npz file of plain arrays. "
            f"Received: {path}, which cannot be read: {error}"
        ) from error
