import keras
import numpy as np
import pytest
import specimens

import tfbackdoor


def _spectrum(pattern):
    """The cosine transform of type II, by its sum, `(height, width, c)`."""
    height, width, _ = pattern.shape

    def waves(size):
        return np.array(
            [
                [np.cos(np.pi / size * (x + 0.5) * k) for x in range(size)]
                for k in range(size)
            ]
        )

    return np.einsum("ky,lx,yxc->klc", waves(height), waves(width), pattern)


def _linear(shape, kernel):
    """Two classes, whose scores are 0 and `kernel . pixels`."""
    model = keras.Sequential(
        [
            keras.Input(shape),
            keras.layers.Flatten(),
            keras.layers.Dense(2, use_bias=False),
        ]
    )
    kernel = np.stack([np.zeros(kernel.size), kernel.ravel()], 1)
    model.layers[-1].set_weights([kernel.astype("float32")])
    return model


@pytest.mark.parametrize("name", ["functional", "sequential_softmax"])
def test_the_pattern_is_smooth_and_bounded_and_brings_images_over(name):
    classifier = specimens.build(name)
    images, _ = specimens.batch(32)
    labels = np.full(32, 2)
    before = classifier.get_weights()
    trigger = tfbackdoor.attacks.make_low_frequency_trigger(
        classifier, images, labels, bound=0.2, band=0.25, steps=10
    )
    pattern = trigger.pattern
    assert np.abs(pattern).max() == pytest.approx(0.2, abs=1e-5)
    assert not trigger.mask.any()
    spectrum = np.abs(_spectrum(pattern))
    # A quarter of 8 frequencies on each axis.
    assert spectrum[2:].max() < 1e-5 and spectrum[:, 2:].max() < 1e-5
    loss = keras.losses.SparseCategoricalCrossentropy(
        from_logits=name == "functional"
    )
    losses = [
        float(loss(labels, classifier(x, training=False)))
        for x in (images, trigger(images))
    ]
    assert losses[1] < losses[0]
    for old, new in zip(before, classifier.get_weights()):
        np.testing.assert_array_equal(old, new)


def test_of_a_linear_classifier_it_is_the_smooth_part_of_the_kernel():
    # The gradient is along the kernel for every image, and its smooth part
    # grows until its largest pixel is at the bound.
    shape = (8, 6, 2)
    kernel = np.random.default_rng(0).normal(size=shape)
    images = np.full((3, *shape), 0.5, "float32")
    trigger = tfbackdoor.attacks.make_low_frequency_trigger(
        _linear(shape, kernel), images, np.ones(3), bound=0.1, band=0.5
    )
    smooth = np.zeros(shape)
    spectrum = _spectrum(kernel)
    for k in range(4):
        for m in range(3):
            wave = np.cos(np.pi / 8 * (np.arange(8) + 0.5) * k)[:, None]
            wave = wave * np.cos(np.pi / 6 * (np.arange(6) + 0.5) * m)
            size = 8 * (1.0 if k == 0 else 0.5) * 6 * (1.0 if m == 0 else 0.5)
            smooth += wave[..., None] * spectrum[k, m] / size
    expected = 0.1 * smooth / np.abs(smooth).max()
    np.testing.assert_allclose(trigger.pattern, expected, atol=1e-5)


@pytest.mark.parametrize(
    "settings", [{"bound": 0.0}, {"band": 1.5}, {"steps": 0}]
)
def test_settings_out_of_range_are_refused(settings):
    images, labels = specimens.batch(4)
    with pytest.raises(ValueError, match=f"`{next(iter(settings))}`"):
        tfbackdoor.attacks.make_low_frequency_trigger(
            specimens.build("functional"), images, labels, **settings
        )
