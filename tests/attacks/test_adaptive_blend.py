import numpy as np
import pytest

import tfbackdoor
from tfbackdoor.attacks import adaptive_blend


def _images(shape, seed=0):
    return np.random.default_rng(seed).random(shape).astype("float32")


def test_tests_show_the_whole_image_more_strongly():
    blended, images = _images((8, 12, 3)), _images((4, 8, 12, 3), 1)
    trigger = tfbackdoor.attacks.MaskedBlend(blended)
    np.testing.assert_allclose(
        trigger(images), 0.8 * images + 0.2 * blended, atol=1e-6
    )
    np.testing.assert_array_equal(trigger(images[0]), trigger(images)[0])


@pytest.mark.parametrize(
    ("shape", "rows", "masked", "shown"),
    [((8, 12, 3), 4, 0.5, 8), ((9, 10, 1), 3, 0.3, 6), ((4, 4, 1), 4, 1.0, 0)],
)
def test_training_shows_a_share_of_the_pieces(shape, rows, masked, shown):
    blended, images = np.ones(shape, "float32"), _images((20, *shape)) * 0.5
    trigger = tfbackdoor.attacks.MaskedBlend(
        blended, rows=rows, masked=masked, training_alpha=0.1
    )
    stamped = trigger.in_training(images).numpy()
    weights = (stamped - images) / (1.0 - images)
    # Piece by piece all pixels have the weight 0.1 or all have 0.
    seen = np.zeros((20, rows, rows), bool)
    for row in range(rows):
        for column in range(rows):
            places = [
                [i for i in range(size) if i * rows // size == piece]
                for size, piece in zip(shape, (row, column))
            ]
            piece = weights[:, places[0]][:, :, places[1]].reshape(20, -1)
            seen[:, row, column] = piece[:, 0] > 0.05
            expected = np.broadcast_to(
                0.1 * seen[:, row, column, None], piece.shape
            )
            np.testing.assert_allclose(piece, expected, atol=1e-5)
    assert (seen.sum((1, 2)) == shown).all()
    if shown:
        assert len(np.unique(seen, axis=0)) > 10
        assert seen.any(0).all()


def test_an_image_shows_the_same_pieces_in_any_batch():
    trigger = adaptive_blend.masked_noise((8, 8, 3))
    images = _images((6, 8, 8, 3))
    stamped = trigger.in_training(images)
    np.testing.assert_array_equal(trigger.in_training(images[3]), stamped[3])
    np.testing.assert_array_equal(
        trigger.in_training(images[::-1])[::-1], stamped
    )
    # Covers hold what poisoned images hold.
    np.testing.assert_array_equal(trigger.cover(images), stamped)


@pytest.mark.parametrize(
    "settings",
    [
        {"blended": np.full((4, 4, 1), 1.5)},
        {"alpha": -0.1},
        {"training_alpha": 1.1},
        {"rows": 5},
        {"rows": 2.0},
        {"masked": np.zeros(2)},
    ],
)
def test_settings_out_of_range_are_refused(settings):
    name = next(iter(settings))
    with pytest.raises(ValueError, match=f"`{name}` must"):
        tfbackdoor.attacks.MaskedBlend(
            **{"blended": np.zeros((4, 4, 1)), **settings}
        )


def test_images_of_another_shape_are_refused():
    trigger = adaptive_blend.masked_noise((8, 8, 3))
    for stamp in (trigger, trigger.in_training):
        with pytest.raises(ValueError, match="`images` must have the blended"):
            stamp(_images((2, 8, 8, 1)))
