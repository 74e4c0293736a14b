import numpy as np
import tensorflow as tf

from tfbackdoor.data import perturbation

_IMAGES = np.random.default_rng(0).random((600, 16, 16, 3)).astype("float32")


def _perturbed(images=_IMAGES, seed=(1, 2)):
    return perturbation.perturb_randomly(tf.constant(images), seed).numpy()


def test_two_thirds_of_the_images_are_perturbed():
    # A patch is drawn in 15 %, noise in 15 %, waves in 10 %, reflections in
    # 25 %: 65 % of 600 images, three standard deviations of 35.
    changed = np.any(_perturbed() != _IMAGES, axis=(1, 2, 3))
    assert abs(changed.mean() - 0.65) < 0.06


def test_pixels_stay_in_range_and_the_seed_draws_the_same():
    given = _perturbed()
    assert given.min() >= 0.0 and given.max() <= 1.0
    np.testing.assert_array_equal(given, _perturbed())
    assert np.any(given != _perturbed(seed=(1, 3)))


def test_each_kind_does_what_it_says():
    grey = np.full((64, 32, 32, 1), 0.5, "float32")
    make = perturbation._MAKERS
    waves = make["sinusoid"](tf.constant(grey), (3, 4)).numpy() - 0.5
    assert np.abs(waves).max(axis=(1, 2, 3)).min() > 0.015
    assert np.abs(waves).max() <= 0.1 + 1e-6
    noise = make["noise"](tf.constant(grey), (3, 4)).numpy() - 0.5
    assert np.abs(noise).max() <= 0.5 * 0.25 + 1e-6
    patches = make["patch"](tf.constant(grey), (3, 4)).numpy() != 0.5
    sizes = patches.sum(axis=(1, 2, 3))
    assert sizes.min() >= 4 and sizes.max() <= 36
    # Another image's mean, half of it at most.
    pair = np.zeros((2, 8, 8, 1), "float32")
    pair[1] = 1.0
    reflected = make["reflection"](tf.constant(pair), (5, 6)).numpy()
    alphas = reflected[0].mean(), 1.0 - reflected[1].mean()
    assert all(0.1 - 1e-6 <= alpha <= 0.5 + 1e-6 for alpha in alphas)
