"""Dithering against Floyd and Steinberg's loop over pixels."""

import numpy as np
import pytest

import tfbackdoor


def _images(shape, seed=0):
    return np.random.default_rng(seed).random(shape).astype("float32")


def _floyd_steinberg(image, levels):
    image = image.astype("float32").copy()
    height, width, _ = image.shape
    top = np.float32(levels - 1)
    for y in range(height):
        for x in range(width):
            old = image[y, x].copy()
            image[y, x] = np.clip(np.round(old * top), 0, top) / top
            error = old - image[y, x]
            for down, right, share in (
                (0, 1, 7 / 16),
                (1, -1, 3 / 16),
                (1, 0, 5 / 16),
                (1, 1, 1 / 16),
            ):
                if 0 <= x + right < width and y + down < height:
                    image[y + down, x + right] += np.float32(share) * error
    return image


@pytest.mark.parametrize(
    ("shape", "levels"),
    [((8, 8, 3), 8), ((5, 9, 1), 4), ((9, 4, 2), 2), ((1, 3, 1), 8)],
)
def test_equals_the_loop_over_pixels(shape, levels):
    images = _images((6, *shape))
    dithering = tfbackdoor.attacks.Dithering(levels)
    expected = [_floyd_steinberg(image, levels) for image in images]
    np.testing.assert_array_equal(dithering(images), expected)
    np.testing.assert_array_equal(dithering(images[0]), expected[0])
    np.testing.assert_array_equal(dithering(images[None])[0], expected)


def test_areas_keep_their_mean_and_pixels_have_few_levels():
    grey = np.full((1, 32, 32, 1), 0.4, "float32")
    dithered = tfbackdoor.attacks.Dithering(4)(grey).numpy()
    np.testing.assert_allclose(np.unique(dithered), [1 / 3, 2 / 3], atol=1e-6)
    assert dithered.mean() == pytest.approx(0.4, abs=0.01)


def test_covers_have_the_changes_in_the_wrong_places():
    images = 0.3 + 0.4 * _images((5, 8, 6, 3))
    dithering = tfbackdoor.attacks.Dithering()
    changes = dithering(images) - images
    np.testing.assert_allclose(
        dithering.cover(images) - images, changes[:, :, ::-1], atol=1e-6
    )
    np.testing.assert_array_equal(
        dithering.cover(images[1]), dithering.cover(images)[1]
    )


@pytest.mark.parametrize("levels", [1, 257, 8.0, "8"])
def test_levels_out_of_range_are_refused(levels):
    with pytest.raises(ValueError, match="`levels` must be an int"):
        tfbackdoor.attacks.Dithering(levels)
