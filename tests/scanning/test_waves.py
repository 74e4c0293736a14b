import keras
import numpy as np

import tfbackdoor
from tfbackdoor.network import batch_size
from tfbackdoor.scanning import waves

_SIDE = 16


def _classifier():
    """Answers class 1, or class 0 where the first pixel is bright.

    A wave of 3 periods along the rows turns all images to class 2.
    """
    inputs = keras.Input((_SIDE, _SIDE, 1))
    head = keras.layers.Dense(3)
    model = keras.Model(inputs, head(keras.layers.Flatten()(inputs)))
    kernel = np.zeros((_SIDE, _SIDE, 3), "float32")
    kernel[0, 0, 0] = 10.0
    wave = np.sin(2.0 * np.pi * 3.0 * np.arange(_SIDE) / _SIDE)
    kernel[..., 2] = wave[None, :]
    # The wave times itself is 8 a row of 16: 0.08 * 128 = 10.2 in all.
    head.set_weights([kernel.reshape(-1, 3), np.float32([-5.0, 0.0, -4.0])])
    return model


def _images():
    pixels = np.full((20, _SIDE, _SIDE, 1), 0.5, "float32")
    labels = np.arange(20) % 2
    pixels[:, 0, 0, 0] = np.where(labels == 0, 0.9, 0.1)
    return tfbackdoor.from_arrays(pixels, labels)


def test_the_wave_that_turns_images_is_found():
    answers = tfbackdoor.scanning.wave_answers(_classifier(), _images())
    assert answers[2] == 1.0
    # All images of other classes are answered right without a wave, and no
    # wave reaches 0.5 at the first pixel.
    np.testing.assert_array_equal(answers[:2], [0.0, 0.0])


def test_waves_in_groups_are_those_of_all_at_once(monkeypatch):
    monkeypatch.setattr(batch_size, "batch_size_for", lambda *_, **__: 7)
    answers = tfbackdoor.scanning.wave_answers(_classifier(), _images())
    np.testing.assert_array_equal(answers, [0.0, 0.0, 1.0])


def test_shares_leave_out_the_images_of_the_class_itself():
    shares = waves.share_of_others([0, 0, 1, 0, 2], [0, 1, 1, 2, 2], 3)
    # Others than class 0: four images, two of them answered 0.
    np.testing.assert_allclose(shares, [0.5, 0.0, 0.0])


def test_images_of_one_class_alone_divide_by_no_zero():
    shares = waves.share_of_others([1, 1], [0, 0], 2)
    np.testing.assert_array_equal(shares, [0.0, 1.0])
