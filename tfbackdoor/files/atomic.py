"""Files that are there as a whole or as they were before."""

import contextlib
import json
import os
import pathlib


@contextlib.contextmanager
def replaced(path: pathlib.Path):
    """A context that yields where to write what then takes the place of `path`.

    A kill or a power cut leaves the old file or the new one, and may leave a
    hidden one beside it; an error leaves the old one alone.

    Args:
        path: in a folder that exists; the file need not.
    """
    name = f".{path.stem}.partial-{os.getpid()}{path.suffix}"
    partial = path.with_name(name)
    try:
        yield partial
        _sync_content(partial)
        partial.replace(path)
        _sync_entries(path.parent)  # The rename itself.
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes text as UTF-8; see `replaced`."""
    with replaced(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: pathlib.Path, content) -> None:
    """Writes `content` as indented JSON; see `replaced`."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def _sync_content(path):
    """Waits until what was written into a file is on the disk."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _sync_entries(folder):
    """Waits until the names in a folder are on the disk.

    Windows cannot: there a power cut may leave the old file.
    """
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
