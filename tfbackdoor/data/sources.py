"""Images from TFDS, a folder or archive, `.npz` or the package, as `tf.data`.

One convention everywhere: a data set yields `(image, label)`, the image
float32 in [0, 1] of shape `(height, width, channels)`, the label int64.
"""

import numbers
import os
import pathlib

import numpy as np
import tensorflow as tf

from tfbackdoor.data import class_numbers
from tfbackdoor.data import missing_split
from tfbackdoor.data import tar_archives
from tfbackdoor.files import arrays
from tfbackdoor.files import image_files

_DIGITS = pathlib.Path(__file__).parent / "embedded" / "digits.npz"
_DIGITS_LEVELS = 16
_DIGITS_TEST_SHARE = 0.3
_EMBEDDED_SPLIT_SEED = 0


def load_images(
    source: str | pathlib.Path,
    split: str = "train",
    *,
    data_dir: str | pathlib.Path | None = None,
    download: bool = False,
    image_size: tuple[int, int] | None = None,
) -> tf.data.Dataset:
    """Loads labelled images; the order is the same at every call.

    Args:
        source: `"digits"` (embedded in the package: UCI handwritten digits,
            16x16x1, 10 classes); the path of an `.npz` file with arrays
            `<split>_images` (uint8, or float in [0, 1]) and `<split>_labels`,
            or `x_<split>` and `y_<split>`, or, of the split `"train"`,
            `images` and `labels`; the path of a folder
            `<split>/<class>/<image file>`, or of a tar archive of one, which
            is read in place; or any name of TensorFlow Datasets, such as
            `"cifar10"` or `"cifar100"`.
        split: `"train"` or `"test"`, or any split of that source.
        data_dir: where TFDS finds its data sets.
        download: bool, whether TFDS may download.
        image_size: `(height, width)` to resize to, or None to leave the
            images as they are.

    Returns:
        Unbatched `tf.data.Dataset` of known cardinality, cached in memory
        once read.

    Raises:
        MissingSplitError: a ValueError, where the source has no such split.
        ValueError: where the source or an array is not there or not as
            described; the message says what was expected.
    """
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(
            "`source` must be a path or the name of a data set. "
            f"Received: {type(source).__name__}"
        )
    check_image_size(image_size)
    if source == "digits":
        images = _load_digits(split)
    elif str(source).endswith(".npz"):
        images = _load_npz(pathlib.Path(source), split)
    elif tar_archives.is_archive(source):
        images = tar_archives.load_archive(
            _file(source), split, one_size=image_size is None
        )
    elif pathlib.Path(source).is_dir():
        images = _load_folder(pathlib.Path(source), split, image_size)
    else:
        images = _load_tfds(str(source), split, data_dir, download)
    images = _resized(images, image_size)
    if tar_archives.is_archive(source) or pathlib.Path(source).is_dir():
        _decode_all(images, source)
    return images.map(_to_unit_range, num_parallel_calls=tf.data.AUTOTUNE)


def check_image_size(image_size) -> None:
    """Raises ValueError unless it is None or a size of images."""
    if image_size is None:
        return
    sizes = image_size if isinstance(image_size, (tuple, list)) else ()
    if len(sizes) != 2 or not all(
        isinstance(size, numbers.Integral) and int(size) > 0 for size in sizes
    ):
        raise ValueError(
            "`image_size` must be (height, width), whole numbers above 0. "
            f"Received: {image_size!r}"
        )


def image_tracks(
    source: str | pathlib.Path, split: str = "train"
) -> np.ndarray:
    """Which track each image belongs to, of files `<track>_<index>.<suffix>`.

    The frames of a video of one thing, as in GTSRB, are so alike that a clean
    subset must be drawn by track; see `split_images`.

    Args:
        source: path of a folder or tar archive, see `load_images`.
        split: as in `load_images`.

    Returns:
        Strings `<class>/<track>`, one an image, in the order of `load_images`.
        A file without `_` in its name is a track of its own.

    Raises:
        ValueError: where `source` is of another kind, or has no such split.
    """
    if tar_archives.is_archive(source):
        names = tar_archives.image_names(_file(source), split)
    elif pathlib.Path(source).is_dir():
        names = _folder_names(pathlib.Path(source), split)
    else:
        raise ValueError(
            "`source` must be a folder or tar archive of files "
            f"<track>_<index>.<suffix>. Received: {source}"
        )
    stems = [name.rpartition(".")[0] for name in names]
    return np.array([stem.rpartition("_")[0] or stem for stem in stems])


def from_arrays(images: np.ndarray, labels: np.ndarray) -> tf.data.Dataset:
    """A data set from arrays in memory.

    Args:
        images: `(count, height, width)` or `(count, height, width, channels)`,
            uint8, or float in [0, 1].
        labels: whole numbers of any type, `(count,)` or `(count, 1)`, or
            one-hot `(count, classes)`.

    Raises:
        ValueError: unless the arrays are as described.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if images.ndim == 3:
        images = images[..., None]
    alike = labels.ndim in (1, 2) and labels.shape[:1] == images.shape[:1]
    if images.ndim != 4 or not alike:
        raise ValueError(
            "`images` must have the shape (count, height, width, channels) and "
            f"`labels` (count,). Received: {images.shape} and {labels.shape}"
        )
    labels = _numbers(labels)
    if images.dtype != np.uint8 and not np.issubdtype(
        images.dtype, np.floating
    ):
        raise ValueError(
            "`images` must be uint8, or float in [0, 1]: divide other numbers "
            f"by the largest that they can be. Received: dtype {images.dtype}"
        )
    dataset = tf.data.Dataset.from_tensor_slices((images, labels))
    return dataset.map(_to_unit_range, num_parallel_calls=tf.data.AUTOTUNE)


def _numbers(labels):
    """Labels as int64 `(count,)`, each the number of one class."""
    if labels.dtype.kind in "buif":
        numbers = class_numbers.of_labels(labels).numpy()
        if class_numbers.NO_CLASS not in numbers:
            return numbers
    raise ValueError(
        "`labels` must be whole numbers, or one-hot. Received: dtype "
        f"{labels.dtype}, such as {labels[:1]}"
    )


def _to_unit_range(image, label):
    if image.dtype == tf.uint8:
        image = tf.cast(image, tf.float32) / 255.0
    return tf.cast(image, tf.float32), tf.cast(label, tf.int64)


def _resized(images, image_size):
    if image_size is None or images.element_spec[0].shape[:2] == image_size:
        return images.cache()

    def resize(image, label):
        levels = image.dtype
        image = tf.image.resize(tf.cast(image, tf.float32), image_size)
        if levels == tf.uint8:
            image = tf.round(image)
        return tf.cast(image, levels), label

    return images.map(resize, num_parallel_calls=tf.data.AUTOTUNE).cache()


def _load_digits(split):
    """UCI digits: 8x8 pixels of 17 levels, doubled to 16x16."""
    digits = arrays.read_arrays(_DIGITS)
    images, labels = digits["images"], digits["labels"]
    images = (images / _DIGITS_LEVELS).astype("float32")
    images = images.repeat(2, axis=1).repeat(2, axis=2)[..., None]
    order = np.random.default_rng(_EMBEDDED_SPLIT_SEED).permutation(len(labels))
    test_count = round(_DIGITS_TEST_SHARE * len(labels))
    parts = {"test": order[:test_count], "train": order[test_count:]}
    if split not in parts:
        raise missing_split.MissingSplitError(
            "`split` of the digits must be 'train' or 'test'. "
            f"Received: {split!r}"
        )
    chosen = parts[split]
    return tf.data.Dataset.from_tensor_slices((images[chosen], labels[chosen]))


def _load_npz(path, split):
    found = arrays.read_arrays(path)
    pairs = [
        (f"{split}_images", f"{split}_labels"),
        (f"x_{split}", f"y_{split}"),
    ]
    if split == "train":
        pairs.append(("images", "labels"))
    for names in pairs:
        if found.keys() >= set(names):
            return from_arrays(*(found[name] for name in names))
    expected = ", or ".join(" and ".join(names) for names in pairs)
    raise missing_split.MissingSplitError(
        f"`source` must hold the arrays {expected}. "
        f"Received: {path} with {sorted(found)}"
    )


def _file(source):
    path = pathlib.Path(source)
    if not path.is_file():
        raise ValueError(
            f"`source` must be an archive. Received: {path}, which does not "
            "exist."
        )
    return path


def _folder_names(path, split):
    """`<class>/<file>` of the images of a folder, as `_load_folder` orders."""
    import tensorflow_datasets as tfds

    files = _folder_builder(path, split).as_dataset(
        split=split, decoders={"image": tfds.decode.SkipDecoding()}
    )
    paths = (
        pathlib.Path(example["image/filename"].decode())
        for example in files.as_numpy_iterator()
    )
    return [f"{path.parent.name}/{path.name}" for path in paths]


def _folder_builder(path, split):
    import tensorflow_datasets as tfds

    folders = sorted(p.name for p in path.iterdir() if p.is_dir())
    if split not in folders:
        raise missing_split.MissingSplitError(
            f"`source` must hold a folder {split}/<class>/<image file>. "
            f"Received: {path} with the folders {folders}"
        )
    builder = tfds.folder_dataset.ImageFolder(str(path))
    if not builder.info.splits[split].num_examples:
        raise ValueError(
            "`source` must hold .jpg, .jpeg or .png images, one folder a "
            f"class. Received: {path / split} without any."
        )
    return builder


def _load_folder(path, split, image_size):
    builder = _folder_builder(path, split)
    size = image_files.check_folder(path / split, image_size=image_size)
    images = _as_supervised(builder, split)
    if image_size is None:
        images = images.map(
            lambda image, label: (tf.ensure_shape(image, (*size, 3)), label)
        )
    return images


def _decode_all(images, source):
    """Fills the cache, so that a broken image is met here and nowhere else."""
    try:
        for _ in images:
            pass
    except tf.errors.OpError as error:
        reason = (str(error.message).splitlines() or ["no message"])[0]
        raise ValueError(
            "`source` must hold images that can be decoded. Received: "
            f"{source}, where one fails with: {reason[:300]}"
        ) from error


def _load_tfds(name, split, data_dir, download):
    # Takes half a second to import: only where it is needed.
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        raise ValueError(
            "`source` must be 'digits', an .npz file, a folder, or a data set "
            f"of TensorFlow Datasets. Received: {name!r}"
        ) from error
    if download:
        builder.download_and_prepare()
    if not builder.data_path.exists():
        raise ValueError(
            f"`source` {name!r} must be prepared in `data_dir`, or `download` "
            f"must be true. Received: data_dir={data_dir}, download=False"
        )
    if builder.info.supervised_keys is None:
        raise ValueError(
            "`source` must be a data set of (image, label). "
            f"Received: {name!r}, which has no supervised form."
        )
    return _as_supervised(builder, split)


def _as_supervised(builder, split):
    try:
        return builder.as_dataset(
            split=split, as_supervised=True, shuffle_files=False
        )
    except (ValueError, KeyError) as error:
        raise missing_split.MissingSplitError(
            f"`split` must be one of {sorted(builder.info.splits)}, or a slice "
            f"of one. Received: {split!r}"
        ) from error
