"""Labelled images straight from a tar archive; nothing is written to disk."""

import io
import pathlib
import tarfile

import numpy as np
import tensorflow as tf

from tfbackdoor import errors
from tfbackdoor.data import missing_split
from tfbackdoor.files import image_files

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_IMAGES = (".jpg", ".jpeg", ".png")
_LARGEST_IMAGE = 16 * 2**20  # Bytes; and of all images of a split:
_LARGEST_TOTAL = 8 * 2**30
_MOST_MEMBERS = 5_000_000


def is_archive(source: str | pathlib.Path) -> bool:
    """Whether `source` is named like a tar archive."""
    return str(source).lower().endswith(SUFFIXES)


def load_archive(
    path: pathlib.Path, split: str, *, one_size: bool = True
) -> tf.data.Dataset:
    """The images of `<any folder>/<split>/<class>/<image file>`.

    Members are read into memory, sorted by name. Links, devices and files of
    other kinds are passed over.

    Args:
        path: tar archive, compressed or not.
        split: name of a folder of class folders.
        one_size: bool, whether all images must have the size of the first.

    Returns:
        Unbatched data set of `(image uint8, label int64)`; labels count the
        class folders of all splits by name.

    Raises:
        ValueError: where the archive is broken, too large, leads outside its
            folder, or has no such split; where an image is not one.
    """
    classes, files = _read(path, split)
    names = sorted(files)
    numbers = {name: number for number, name in enumerate(classes)}
    labels = np.array([numbers[name[0]] for name in names], "int64")
    contents = [files[name] for name in names]
    _check_images(contents, names, one_size)
    *size, channels = _shape_of(contents[0], path, names[0])
    shape = (*(size if one_size else (None, None)), channels)

    def decode(content, label):
        image = tf.io.decode_image(content, channels, expand_animations=False)
        return tf.ensure_shape(image, shape), label

    images = tf.data.Dataset.from_tensor_slices((contents, labels))
    return images.map(decode, num_parallel_calls=tf.data.AUTOTUNE)


def image_names(path: pathlib.Path, split: str) -> list[str]:
    """`<class>/<file>` of the images of a split, as `load_archive` orders."""
    _, files = _read(path, split, contents=False)
    return ["/".join(name) for name in sorted(files)]


def _read(path, split, *, contents=True):
    """The class names of all splits, and from (class, file) to its bytes."""
    classes, splits, files, total = set(), set(), {}, 0
    try:
        with tarfile.open(path) as archive:
            for number, member in enumerate(archive):
                parts = _parts(member.name, path)
                if number >= _MOST_MEMBERS:
                    raise ValueError(_too_large(path, "members"))
                if not member.isreg() or len(parts) < 3:
                    continue
                of_split, name = parts[-3], tuple(parts[-2:])
                if not name[1].lower().endswith(_IMAGES):
                    continue
                classes.add(name[0])
                splits.add(of_split)
                if of_split != split:
                    continue
                total += member.size
                if member.size > _LARGEST_IMAGE or total > _LARGEST_TOTAL:
                    raise ValueError(_too_large(path, "bytes"))
                if name in files:
                    raise ValueError(
                        "`source` must hold each image once. "
                        f"Received: {path} with {member.name} again"
                    )
                files[name] = (
                    archive.extractfile(member).read() if contents else b""
                )
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ValueError(
            "`source` must be a tar archive that can be read. "
            f"Received: {path}, which fails with: {errors.sentence(error)}"
        ) from error
    if not files:
        raise missing_split.MissingSplitError(
            f"`source` must hold {split}/<class>/<image file> with .jpg, .jpeg "
            f"or .png images. Received: {path} with the splits {sorted(splits)}"
        )
    return sorted(classes), files


def _parts(name, path):
    """The folders and the file of a member that stays in the archive."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\\" in name:
        raise ValueError(
            "`source` must not lead outside its folder. "
            f"Received: {path} with the member {name!r}"
        )
    return parts


def _too_large(path, what):
    return (
        f"`source` must hold images of at most {_LARGEST_IMAGE} bytes, "
        f"{_LARGEST_TOTAL} together. Received: {path} with too many {what}"
    )


def _check_images(contents, names, one_size):
    """Raises ValueError on a header of no image, a huge one or another size."""
    first = None
    for content, name in zip(contents, names):
        name = "/".join(name)
        size = image_files.declared_dimensions(io.BytesIO(content), name)
        first = first or size
        if one_size and size != first:
            raise ValueError(
                "`source` must hold images of one size where `image_size` is "
                f"not given. Received: {name} of {size} pixels after {first}"
            )


def _shape_of(content, path, name):
    try:
        return tuple(tf.io.decode_image(content, expand_animations=False).shape)
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(
            "`source` must hold .jpg, .jpeg or .png images. Received: "
            f"{path} with {'/'.join(name)}, which cannot be decoded"
        ) from error
