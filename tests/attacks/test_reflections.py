import keras
import numpy as np
import pytest

import tfbackdoor
from tfbackdoor.attacks import reflections

_SHAPE = (8, 8, 3)


def _images(count=12, seed=0, shape=_SHAPE):
    rng = np.random.default_rng(seed)
    return rng.random((count, *shape)).astype("float32")


def _dataset(images):
    return tfbackdoor.from_arrays(images, np.zeros(len(images), "int64"))


def _made(images, **settings):
    return tfbackdoor.attacks.make_reflections(
        _dataset(images), _SHAPE, **settings
    )


def test_an_image_gets_the_same_reflection_in_any_batch():
    trigger = _made(_images())
    images = _images(20, seed=1)
    stamped = np.asarray(trigger(images))
    np.testing.assert_array_equal(trigger(images[::-1])[::-1], stamped)
    for image, expected in zip(images, stamped):
        np.testing.assert_array_equal(trigger(image), expected)


def test_images_get_different_reflections():
    trigger = _made(_images(), alphas=(0.4, 0.4))
    images = _images(40, seed=1)
    layers = np.asarray(trigger(images)) - 0.6 * images
    assert len(np.unique(layers.round(3), axis=0)) > 6


def test_a_reflection_is_mixed_in_with_its_alpha():
    layer = np.full((1, *_SHAPE), 1.0)
    trigger = tfbackdoor.attacks.Reflections(layer, [0.25])
    images = _images(2)
    np.testing.assert_allclose(trigger(images), 0.75 * images + 0.25, atol=1e-6)


def test_blur_keeps_an_even_image_and_smooths_an_uneven_one():
    even = np.full((3, *_SHAPE), 0.6, "float32")
    made = _made(even, variants=("out_of_focus",))
    np.testing.assert_array_equal(made.reflections, 153)  # 0.6 * 255
    uneven = _made(_images(), variants=("out_of_focus",)).reflections / 255.0
    rough = np.abs(np.diff(_images(), axis=1)).mean()
    assert np.abs(np.diff(uneven, axis=1)).mean() < 0.8 * rough


def test_a_ghost_is_the_image_twice():
    point = np.zeros((1, 16, 16, 3), "float32")
    point[0, 2, 3] = 1.0
    made = tfbackdoor.attacks.make_reflections(
        _dataset(point), (16, 16, 3), variants=("ghost",)
    )
    rows, columns = np.nonzero(made.reflections[0, ..., 0])
    values = made.reflections[0, rows, columns, 0]
    assert (rows[0], columns[0]) == (2, 3) and len(rows) == 2
    # Shifted by 10 to 25 % of 16 pixels, the two shares sum to 1.
    assert 2 <= rows[1] - 2 <= 4 and 2 <= columns[1] - 3 <= 4
    assert abs(int(values.sum()) - 255) <= 1
    assert 0.15 * 255 - 1 <= values[0] <= 0.5 * 255 + 1


def test_in_focus_is_the_image_itself():
    images = _images(5)
    made = _made(images, variants=("in_focus",))
    found = {layer.tobytes() for layer in made.reflections}
    assert found == {
        layer.tobytes() for layer in np.rint(images * 255).astype("uint8")
    }


def test_reflections_come_from_a_folder_of_any_size(tmp_path):
    (tmp_path / "train" / "any").mkdir(parents=True)
    for number, image in enumerate(_images(6, shape=(20, 24, 3))):
        keras.utils.save_img(
            tmp_path / "train" / "any" / f"{number}.png", image
        )
    images = tfbackdoor.load_images(tmp_path, "train")
    made = tfbackdoor.attacks.make_reflections(images, (8, 8, 1), count=4)
    assert made.reflections.shape == (4, 8, 8, 1)
    assert len(np.unique(made.reflections, axis=0)) == 4


def test_save_and_load_stamp_equally(tmp_path):
    trigger = _made(_images())
    trigger.save(tmp_path / "reflections.npz")
    loaded = tfbackdoor.attacks.Reflections.load(tmp_path / "reflections.npz")
    images = _images(10, seed=3)
    np.testing.assert_array_equal(loaded(images), trigger(images))


@pytest.mark.parametrize(
    "settings",
    [{"variants": ("mirror",)}, {"alphas": (0.5, 0.2)}, {"count": 0}],
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match=f"`{next(iter(settings))}`"):
        _made(_images(), **settings)


def test_images_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="`images` must have the reflections'"):
        _made(_images())(np.zeros((1, 4, 4, 3), "float32"))


def test_variants_of_the_paper_are_all_drawn():
    assert reflections.VARIANTS == ("out_of_focus", "ghost", "in_focus")
    made = {
        variant: _made(_images(30), variants=(variant,)).reflections
        for variant in reflections.VARIANTS
    }
    mixed = _made(_images(30), alphas=(0.3, 0.3)).reflections
    for of_variant in made.values():
        same = (mixed == of_variant).all(axis=(1, 2, 3))
        assert 0 < same.sum() < 30
