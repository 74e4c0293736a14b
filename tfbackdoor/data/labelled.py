"""Labelled images as their owner holds them, in this package's one form."""

import contextlib

import tensorflow as tf

from tfbackdoor.data import class_numbers
from tfbackdoor.data import pairs as pairs_module
from tfbackdoor.files import messages


def labelled_images(
    data,
    image_shape: tuple,
    classes: int,
    *,
    name: str = "clean",
) -> tf.data.Dataset:
    """Unbatched `(image, label)`, float32 in [0, 1] and int64, of any data.

    Args:
        data: a `tf.data.Dataset` of `(image, label)`, or of a dict with the
            keys `image` and `label`, unbatched or in batches of any size; a
            pair of arrays `(images, labels)`, or a dict of them; or a
            `keras.utils.PyDataset` of batches, which is read once. Images
            `(height, width, channels)`, or `(height, width)` where there is
            one channel, uint8 or float in [0, 1]: uint8 is divided by 255,
            nothing else is. Labels are whole numbers of any type, `()` or
            `(1,)` an image, or one-hot.
        image_shape: `(height, width, channels)`, None where any will do.
        classes: int, how long a one-hot label is.
        name: what the data are called in the message.

    Returns:
        The same images in the same order. Labels that name no class are
        `class_numbers.NO_CLASS`, so that `survey.check` can tell.

    Raises:
        TypeError: where `data` are of another kind.
        ValueError: where images or labels cannot be read so.
    """
    pairs = pairs_module.as_pairs(data, name)
    pairs = _unbatched(pairs, image_shape, name)
    image, label = pairs.element_spec
    class_numbers.check_kind(label.shape, label.dtype, classes, name)
    _check_pixels(image, name)
    if _is_in_form(image, label, image_shape):
        return pairs

    def in_form(image, label):
        return _image(image, image_shape), _label(label)

    return pairs.map(in_form, num_parallel_calls=tf.data.AUTOTUNE)


@contextlib.contextmanager
def reading(name: str):
    """A context in which images that cannot be read are a ValueError.

    Args:
        name: what the data are called in the message.
    """
    try:
        yield
    except (
        tf.errors.InvalidArgumentError,
        tf.errors.UnknownError,
        tf.errors.NotFoundError,
        tf.errors.DataLossError,
    ) as error:
        reason = str(error.message).strip().partition("\n")[0]
        reason = messages.one_line(reason.rpartition("}} ")[2], limit=300)
        raise ValueError(
            f"`{name}` must hold images that can all be read and have one "
            f"shape. Received: one that fails with: {reason}"
        ) from error


def _unbatched(pairs, image_shape, name):
    pairs = _with_known_shapes(pairs, image_shape, name)
    shape, labels = (part.shape for part in pairs.element_spec)
    if _fits(shape, image_shape):
        return pairs
    if _are_batched(shape, labels, image_shape):
        return _unbatch(pairs)
    raise ValueError(
        f"`{name}` must hold images of the classifier's shape {image_shape}. "
        f"Received: {tuple(shape)}"
    )


def _are_batched(shape, labels, image_shape):
    """Whether these are shapes of a batch of images and of its labels."""
    return bool(
        shape.rank
        and labels.rank
        and _fits(shape[1:], image_shape)
        and (None in (shape[0], labels[0]) or shape[0] == labels[0])
    )


def _unbatch(pairs):
    """Unbatched, of as many elements as can be told."""
    count = pairs.cardinality().numpy()
    size = pairs.element_spec[0].shape[0]
    unbatched = pairs.unbatch()
    if count >= 0 and size is not None:
        # Every batch is as large as the first.
        return unbatched.apply(
            tf.data.experimental.assert_cardinality(count * size)
        )
    return unbatched


def _with_known_shapes(pairs, image_shape, name):
    """The same; where shapes are not known, they are its first element's."""
    image, label = (part.shape for part in pairs.element_spec)
    if image.rank is not None and label.rank is not None:
        batched = not _fits(image, image_shape)
        if label[batched:].is_fully_defined():
            return pairs
    with reading(name):
        first = next(iter(pairs.take(1)), None)
    if first is None:
        raise ValueError(f"`{name}` must hold images. Received: none.")
    shapes = [list(part.shape) for part in first]
    if not _fits(shapes[0], image_shape):
        shapes = [[None, *shape[1:]] for shape in shapes]

    def ensure(*parts):
        return tuple(map(tf.ensure_shape, parts, shapes))

    return pairs.map(ensure)


def _fits(shape, image_shape):
    """Whether an image of `shape` is one of `image_shape`."""
    wanted = tuple(image_shape)
    if len(shape) == 2 and wanted[2] in (1, None):
        wanted = wanted[:2]
    return len(shape) == len(wanted) and all(
        size is None or want is None or size == want
        for size, want in zip(shape, wanted)
    )


def _check_pixels(spec, name):
    if spec.dtype != tf.uint8 and not spec.dtype.is_floating:
        raise ValueError(
            f"`{name}` must hold images of uint8, or float in [0, 1]: divide "
            "other numbers by the largest that they can be. "
            f"Received: {spec.dtype.name}"
        )


def _is_in_form(image, label, image_shape):
    return (
        image.dtype == tf.float32
        and label.dtype == tf.int64
        and label.shape.rank == 0
        and image.shape.is_fully_defined()
        and image.shape.rank == len(image_shape)
    )


def _image(image, image_shape):
    if image.dtype == tf.uint8:
        image = tf.cast(image, tf.float32) / 255.0
    image = tf.cast(image, tf.float32)
    if image.shape.rank == 2:
        image = image[..., None]
    return tf.ensure_shape(image, image_shape)


def _label(label):
    return class_numbers.of_labels(label[None])[0]
