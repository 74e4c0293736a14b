"""Labels in any form become the numbers of classes, or are refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfbackdoor.data import class_numbers

NUMBERS = np.array([2, 0, 1, 2, 1])
FORMS = {
    "int64": NUMBERS,
    "uint8": NUMBERS.astype("uint8"),
    "float": NUMBERS.astype("float32"),
    "column": NUMBERS[:, None],
    "float column": NUMBERS[:, None].astype("float64"),
    "one-hot": keras.utils.to_categorical(NUMBERS, 3),
    "bool one-hot": keras.utils.to_categorical(NUMBERS, 3).astype(bool),
    "int one-hot": keras.utils.to_categorical(NUMBERS, 3).astype("int32"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_names_the_same_classes(form):
    numbers = class_numbers.of_labels(FORMS[form])
    assert numbers.dtype == tf.int64
    np.testing.assert_array_equal(numbers, NUMBERS)


def test_what_names_no_class_is_marked():
    none = class_numbers.NO_CLASS
    numbers = class_numbers.of_labels(np.array([1.0, 0.5]))
    np.testing.assert_array_equal(numbers, [1, none])
    rows = np.array([[0.0, 1.0], [0.1, 0.9], [1.0, 1.0], [0.0, 0.0]])
    numbers = class_numbers.of_labels(rows)
    np.testing.assert_array_equal(numbers, [1, none, none, none])
    with pytest.raises(ValueError, match="`y` must hold.*fractions"):
        class_numbers.check_range(numbers, 2, "y")


def test_two_classes_are_no_column():
    np.testing.assert_array_equal(
        class_numbers.of_labels(np.eye(2)[[1, 0, 1]]), [1, 0, 1]
    )
    np.testing.assert_array_equal(
        class_numbers.of_labels(np.array([[1], [0], [1]])), [1, 0, 1]
    )
