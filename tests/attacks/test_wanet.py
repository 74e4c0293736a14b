"""Warps against plain loops in numpy."""

import numpy as np
import pytest

import tfbackdoor
from tfbackdoor.attacks import wanet


def _images(shape, seed=0):
    return np.random.default_rng(seed).random(shape).astype("float32")


def _read(image, row, column):
    """One pixel between pixels, bilinear, the border beyond the border."""
    height, width, _ = image.shape
    row, column = np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)
    value = 0.0
    for y in range(height):
        for x in range(width):
            near = max(0.0, 1.0 - abs(row - y)) * max(
                0.0, 1.0 - abs(column - x)
            )
            value = value + near * image[y, x]
    return value


@pytest.mark.parametrize("shape", [(5, 7, 1), (6, 4, 3)])
def test_each_pixel_is_read_beside_its_place(shape):
    height, width, _ = shape
    flow = np.random.default_rng(1).uniform(-2.5, 2.5, (height, width, 2))
    image = _images(shape)
    expected = [
        [
            _read(image, y + flow[y, x, 0], x + flow[y, x, 1])
            for x in range(width)
        ]
        for y in range(height)
    ]
    warp = tfbackdoor.attacks.Warp(flow)
    np.testing.assert_allclose(warp(image), expected, atol=1e-5)
    batch = np.stack([image, _images(shape, 2)])
    np.testing.assert_allclose(warp(batch)[0], expected, atol=1e-5)
    np.testing.assert_allclose(warp(batch[None])[0], warp(batch), atol=1e-6)


def test_a_still_warp_changes_nothing_and_a_whole_one_shifts():
    images = _images((3, 6, 5, 2))
    still = tfbackdoor.attacks.Warp(np.zeros((6, 5, 2)))
    np.testing.assert_array_equal(still(images), images)
    left = tfbackdoor.attacks.Warp(np.tile([0.0, 1.0], (6, 5, 1)))
    np.testing.assert_array_equal(left(images)[:, :, :-1], images[:, :, 1:])
    np.testing.assert_array_equal(left(images)[:, :, -1], images[:, :, -1])


def test_a_warp_is_as_large_and_smooth_as_the_papers():
    # 4 knots over 25 pixels: pixels 0, 8, 16 and 24 are the knots themselves,
    # moves of mean size 1 there, times strength / size of half the size - 1.
    warp = wanet.make_warp((25, 25, 3), knots=4, strength=0.5, seed=3)
    moves = np.random.default_rng(3).uniform(-1, 1, (4, 4, 2))
    moves *= 1.0 / np.mean(np.abs(moves)) * 0.5 / 25 * 24 / 2
    np.testing.assert_allclose(warp.flow[::8, ::8], moves, atol=1e-6)
    # Between two knots cubic: halfway -0.75 weighs outer knots by 0.75 / 8.
    column = moves[:, 0, 0]
    halfway = 0.59375 * (column[1] + column[2])
    halfway -= 0.09375 * (column[0] + column[3])
    np.testing.assert_allclose(warp.flow[12, 0, 0], halfway, atol=1e-6)
    assert np.abs(np.diff(warp.flow, axis=0)).max() < 0.2
    assert warp.shake == pytest.approx(0.5 * 24 / 25)


def test_covers_are_warped_and_shaken_each_in_its_own_way():
    warp = wanet.make_warp((8, 9, 3), seed=1)
    ramp = np.zeros((4, 8, 9, 3), "float32")
    ramp += np.arange(9)[:, None] / 9.0 + np.arange(4)[:, None, None, None] / 99
    shaken = (warp.cover(ramp) - warp(ramp)).numpy()[:, :, 2:-2] * 9.0
    assert 0.3 < np.abs(shaken).max() <= warp.shake + 1e-4
    assert abs(shaken.mean()) < 0.1
    assert len(np.unique(shaken.round(3), axis=0)) == 4
    # The same image is shaken alike in any batch and alone.
    np.testing.assert_allclose(
        warp.cover(ramp[2]), warp.cover(ramp)[2], atol=1e-6
    )
    np.testing.assert_allclose(
        warp.cover(ramp[::-1])[::-1], warp.cover(ramp), atol=1e-6
    )


def test_the_seed_tells_the_warp():
    flows = [wanet.make_warp((8, 8, 1), seed=seed).flow for seed in (1, 1, 2)]
    np.testing.assert_array_equal(flows[0], flows[1])
    assert np.abs(flows[0] - flows[2]).max() > 0.1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"flow": np.zeros((4, 4))}, "`flow` must have the shape"),
        ({"flow": np.full((4, 4, 2), np.nan)}, "`flow` must be finite"),
        ({"flow": np.zeros((4, 4, 2)), "shake": -1.0}, "`shake`"),
    ],
)
def test_no_warp_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        tfbackdoor.attacks.Warp(**settings)


def test_images_of_another_size_are_refused():
    with pytest.raises(ValueError, match="`images` must have the height"):
        wanet.make_warp((8, 8, 3))(_images((2, 8, 9, 3)))
    with pytest.raises(ValueError, match="`knots`"):
        wanet.make_warp((8, 8, 3), knots=1)
