"""Claims on a file, so that two processes do not do the same work."""

import contextlib
import pathlib

import filelock


@contextlib.contextmanager
def claim(path: str | pathlib.Path):
    """A context that yields whether this process holds the claim on `path`.

    The claim ends with the context or the process, however that ends; the
    empty file at `path` stays. It holds between machines where their common
    file system does locks (NFSv4 does).

    Args:
        path: a file, made where missing, in a folder that exists.
    """
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
