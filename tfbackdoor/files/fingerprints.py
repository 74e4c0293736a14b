"""Fingerprints: whether two runs read the same."""

import hashlib
import pathlib

import tensorflow as tf

_AT_ONCE = 1024
_BLOCK = 1 << 20


def fingerprint_images(images: tf.data.Dataset) -> dict:
    """The number of images and a hash of all their pixels and labels.

    Args:
        images: unbatched data set of `(image, label)`, in a fixed order.

    Returns:
        `{"images": int, "sha256": str}`.
    """
    digest, count = hashlib.sha256(), 0
    for batch in images.batch(_AT_ONCE).as_numpy_iterator():
        count += len(batch[0])
        for array in batch:
            digest.update(array.tobytes())
    return {"images": count, "sha256": digest.hexdigest()}


def fingerprint_file(path: str | pathlib.Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
