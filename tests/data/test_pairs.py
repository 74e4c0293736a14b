"""Images and labels in forms of other makes: read right, or one sentence."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfbackdoor
from tests import planted
from tfbackdoor.data import labelled
from tfbackdoor.network import door

IMAGES, LABELS = next(
    planted.images(60).batch(60).map(lambda x, y: (x, y)).as_numpy_iterator()
)


class _Batches(keras.utils.PyDataset):
    """Batches of 20, each what `make` makes of its images and labels."""

    def __init__(self, make, count=3):
        super().__init__()
        self.make, self.count = make, count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        part = slice(20 * index, 20 * index + 20)
        return self.make(IMAGES[part], LABELS[part])


_RIGHT = {
    "labels as objects": lambda: (IMAGES, LABELS.astype(object)),
    "images as objects": lambda: (_objects(list(IMAGES)), LABELS),
    "dict of arrays": lambda: {"label": LABELS, "image": IMAGES},
    "batches of dicts": lambda: _Batches(
        lambda x, y: {"images": x, "labels": y}
    ),
    "batches with a short last one": lambda: _Batches(
        lambda x, y: (x[:7], y[:7])
    ),
    "batches of tensors": lambda: _Batches(
        lambda x, y: (tf.constant(x), tf.constant(y), tf.ones(len(y)))
    ),
    "bool one-hot": lambda: (IMAGES, np.eye(6, dtype=bool)[LABELS]),
}


def _objects(parts):
    column = np.empty(len(parts), object)
    column[:] = parts
    return column


@pytest.mark.parametrize("form", _RIGHT)
def test_forms_of_other_makes_are_read(form):
    read = labelled.labelled_images(_RIGHT[form](), (8, 8, 1), 6)
    images, labels = next(read.batch(60).as_numpy_iterator())
    wanted = [0, 1, 2, 3, 4, 5, 0]
    np.testing.assert_array_equal(labels[:7], wanted)
    np.testing.assert_array_equal(images[:7], IMAGES[:7])


def _of_two_sizes():
    def generate():
        yield np.zeros((8, 8, 1), "float32"), 0
        yield np.zeros((6, 8, 1), "float32"), 1

    return tf.data.Dataset.from_generator(
        generate,
        output_signature=(
            tf.TensorSpec((None, None, 1)),
            tf.TensorSpec((), "int64"),
        ),
    )


def _that_breaks():
    def generate():
        yield IMAGES[0], 0
        raise OSError("no such image")

    return tf.data.Dataset.from_generator(
        generate,
        output_signature=(
            tf.TensorSpec((8, 8, 1)),
            tf.TensorSpec((), "int64"),
        ),
    )


_WRONG = {
    "list of pairs": (
        lambda: [(IMAGES[0], 0), (IMAGES[1], 1)],
        "a pair .images, labels. of arrays",
    ),
    "load_data of Keras": (
        lambda: ((IMAGES, LABELS), (IMAGES, LABELS)),
        "a pair .images, labels. of arrays",
    ),
    "images of two sizes": (
        lambda: ([np.zeros((8, 8, 1)), np.zeros((6, 8, 1))], [0, 1]),
        "all of one shape",
    ),
    "data set of two sizes": (_of_two_sizes, r"one shape.*\[6,8,1\]"),
    "generator that breaks": (_that_breaks, "can all be read.*no such image"),
    "channels first": (
        lambda: (IMAGES.transpose(0, 3, 1, 2), LABELS),
        r"shape \(8, 8, 1\). Received: \(1, 8, 8\)",
    ),
    "channels first, one-hot": (
        lambda: (IMAGES.transpose(0, 3, 1, 2), np.eye(6)[LABELS]),
        r"shape \(8, 8, 1\). Received: \(1, 8, 8\)",
    ),
    "batches of images": (_Batches(lambda x, y: x), "Received: ndarray"),
    "batches without labels": (
        _Batches(lambda x, y: (x, None)),
        r"batches \(images, labels\).*NoneType",
    ),
    "batches of nested dicts": (
        _Batches(lambda x, y: ({"image": x}, y)),
        "dict, ndarray",
    ),
    "batches of other dicts": (
        _Batches(lambda x, y: {"x": x, "y": y}),
        r"a dict of \['x', 'y'\]",
    ),
    "no batches": (_Batches(lambda x, y: (x, y), 0), "Received: none"),
    "many labels": (
        lambda: (IMAGES, np.ones((60, 6))),
        "rows that are not one-hot",
    ),
    "16 bits": (
        lambda: ((IMAGES * 65535).astype("uint16"), LABELS),
        "by the largest that they can be. Received: uint16",
    ),
    "16 bits as float": (
        lambda: (IMAGES * 65535, LABELS),
        "divide them by the largest",
    ),
    "-1 to 1": (lambda: (IMAGES * 2 - 1, LABELS), r"take \(1 \+ x\) / 2"),
    "rounded": (lambda: (IMAGES * 1.7 - 0.01, LABELS), "clip them"),
    "infinite": (lambda: (IMAGES / 0.0, LABELS), "no finite numbers"),
    "divided twice": (
        lambda: (IMAGES / 255, LABELS),
        "all but black.*divide by 255 only once",
    ),
    "bytes of 0 and 1": (
        lambda: (np.ones((60, 8, 8, 1), "uint8"), LABELS),
        "all but black",
    ),
}


@pytest.mark.parametrize("case", _WRONG)
@pytest.mark.filterwarnings("ignore:(divide by zero|invalid value)")
def test_what_cannot_be_read_is_refused_in_a_sentence(case):
    make, message = _WRONG[case]
    data = make if isinstance(make, _Batches) else make()
    classifier = planted.classifier()
    for name, call in (
        ("images", lambda: tfbackdoor.evaluate(classifier, data)),
        ("clean", lambda: door.admit(classifier, data)),
        ("clean", lambda: tfbackdoor.find_value_range(classifier, data)),
    ):
        with pytest.raises(ValueError, match=f"`{name}`.*{message}") as error:
            call()
        assert "\n" not in str(error.value)
