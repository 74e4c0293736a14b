import numpy as np
import pytest
import tensorflow as tf

import tfbackdoor


def _batches(images, count=1):
    labels = np.zeros(len(images), "int64")
    return tf.data.Dataset.from_tensors((images, labels)).repeat(count)


def _augmented(images, **settings):
    (batch,) = tfbackdoor.augment(_batches(images), **settings)
    return batch[0].numpy()


def test_nothing_asked_for_changes_nothing():
    images = np.random.default_rng(0).random((4, 6, 6, 3)).astype("float32")
    augmented = _augmented(images, padding=0, flip=False)
    np.testing.assert_array_equal(augmented, images)


def test_flip_mirrors_about_half_of_the_images():
    image = np.arange(6, dtype="float32")[None, :, None] * np.ones((6, 1, 1))
    images = np.repeat(image[None].astype("float32"), 400, axis=0)
    augmented = _augmented(images, padding=0)
    mirrored = (augmented == image[:, ::-1]).all((1, 2, 3))
    same = (augmented == image).all((1, 2, 3))
    assert (mirrored ^ same).all()
    assert 150 < mirrored.sum() < 250


def test_crops_are_shifts_by_at_most_the_padding():
    image = np.zeros((9, 9, 1), "float32")
    image[4, 4] = 1.0
    images = np.repeat(image[None], 500, axis=0)
    augmented = _augmented(images, padding=2, flip=False)
    _, rows, columns, _ = np.nonzero(augmented)
    assert len(rows) == 500
    assert set(rows) == set(columns) == {2, 3, 4, 5, 6}


def test_cutout_zeroes_squares_of_the_length():
    images = np.ones((300, 12, 12, 2), "float32")
    augmented = _augmented(
        images, padding=0, flip=False, cutout_holes=1, cutout_length=5
    )
    zeros = (augmented[..., 0] == 0.0).sum((1, 2))
    assert zeros.max() == 25 and zeros.min() >= 4
    np.testing.assert_array_equal(augmented[..., 0], augmented[..., 1])


def test_epochs_differ_and_seeds_repeat():
    images = np.random.default_rng(0).random((4, 8, 8, 1)).astype("float32")
    first = tfbackdoor.augment(_batches(images), seed=5)
    again = tfbackdoor.augment(_batches(images), seed=5)
    one, two = (next(iter(first))[0].numpy() for _ in range(2))
    assert (one != two).any()
    np.testing.assert_array_equal(one, next(iter(again))[0])


def test_negative_padding_is_refused():
    with pytest.raises(ValueError, match="`padding`"):
        tfbackdoor.augment(_batches(np.zeros((1, 4, 4, 1))), padding=-1)


def test_padding_beyond_the_images_is_refused():
    with pytest.raises(ValueError, match="`padding` .*smaller side, 4 pixels"):
        tfbackdoor.augment(_batches(np.zeros((1, 4, 6, 1))), padding=5)
    tfbackdoor.augment(_batches(np.zeros((1, 4, 6, 1))), padding=4)
