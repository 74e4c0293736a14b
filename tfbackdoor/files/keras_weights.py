"""The weights of a model file, and the memory that building it may take."""

import contextlib
import math
import pathlib
import subprocess
import sys
import tempfile
import threading

import keras
import numpy as np

_SCRIPT = pathlib.Path(__file__).with_name("keras_weights_check.py")
# HDF5 can loop forever on a broken file. A whole one is read in far less, even
# from a slow disk.
_SECONDS = 40.0
_BYTES_PER_SECOND = 10 * 2**20
# A network may need more than its file holds: states that are not stored, or
# stored at half the width.
_SLACK = 64 * 2**20
_FACTOR = 4
_LOCK = threading.Lock()


def stored_weights(path: pathlib.Path, member: str | None = None) -> int:
    """Bytes of all arrays of an HDF5 file, read once in another process.

    Args:
        path: the file.
        member: name of the HDF5 file in it, where `path` is a zip archive.

    Raises:
        ValueError: where the file is broken, links to other files, holds
            anything else than numbers or unpacks out of proportion.
    """
    seconds = _SECONDS + path.stat().st_size / _BYTES_PER_SECOND
    with tempfile.TemporaryDirectory() as scratch:
        try:
            # From a folder of its own: nothing beside the file is imported.
            process = subprocess.run(
                [
                    sys.executable,
                    str(_SCRIPT),
                    str(path.absolute()),
                    *([member] if member else []),
                ],
                cwd=scratch,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds,
            )
        except subprocess.TimeoutExpired as error:
            raise ValueError(
                f"its weights cannot be read in {seconds:.0f} seconds"
            ) from error
    if process.returncode < 0:
        raise ValueError(
            "its weights are broken: HDF5 crashes on them, or hangs"
        )
    if process.returncode:
        reason = process.stderr.strip().splitlines() or ["no message"]
        raise ValueError(f"its weights are refused: {reason[-1][:200]}")
    return int(process.stdout)


@contextlib.contextmanager
def limited_variables(stored: int):
    """A context in which variables of this thread stay near `stored` bytes.

    A config can ask for layers of any size, whatever weights lie beside it;
    Keras allocates and fills them before it compares.

    Raises:
        ValueError: from within, by a variable that would take too much.
    """
    left = [_SLACK + _FACTOR * stored]
    thread = threading.get_ident()
    # Keras has no public hook on the creation of variables. This class is the
    # one below `keras.Variable` that all layers, metrics and seeds make.
    kind = next(
        kind for kind in keras.Variable.__mro__[1:] if "__init__" in vars(kind)
    )
    original = kind.__init__

    def counted(self, initializer, shape=None, dtype=None, *args, **kwargs):
        if threading.get_ident() == thread and shape is not None:
            left[0] -= _size(shape, dtype)
            if left[0] < 0:
                raise ValueError(
                    f"its config asks for a weight of shape {tuple(shape)}, "
                    f"out of proportion to the {stored} bytes stored"
                )
        original(self, initializer, shape, dtype, *args, **kwargs)

    with _LOCK:
        kind.__init__ = counted
        try:
            yield
        finally:
            kind.__init__ = original


def _size(shape, dtype):
    # Types that numpy does not know (bfloat16, None for the default) are
    # counted as float32.
    try:
        width = np.dtype(dtype or "float32").itemsize
    except TypeError:
        width = 4
    return math.prod(int(size) for size in shape) * width
