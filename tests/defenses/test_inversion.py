import numpy as np
import planted
import pytest
import specimens
import tensorflow as tf

import tfbackdoor


def _search(classifier, targets, steps=150, **settings):
    search = tfbackdoor.TriggerInversion(classifier, targets, **settings)
    search.compile()
    search.fit(
        tfbackdoor.training_batches(planted.images(60), 16, replacement=True),
        steps_per_epoch=steps,
        verbose=0,
    )
    return search


def test_the_planted_trigger_is_found():
    triggers = _search(planted.classifier(), range(planted.CLASSES)).triggers()
    # One white pixel turns images to class 3; ten of a region to any other.
    assert np.argmin(triggers.sizes) == planted.TARGET
    others = np.delete(triggers.sizes, planted.TARGET)
    assert triggers.sizes[planted.TARGET] < 2.0 < others.min()
    of_target = triggers.of([planted.TARGET])
    brightness = (of_target.masks * of_target.patterns)[0, ..., 0]
    assert np.unravel_index(brightness.argmax(), (8, 8)) == (7, 7)
    assert brightness[7, 7] > 0.8


def test_sizes_are_averaged_over_the_last_steps():
    search = _search(planted.classifier(), [0, 3])
    found = search.triggers()
    np.testing.assert_allclose(
        np.log(found.mean_sizes), np.log(found.sizes), atol=0.5
    )
    assert np.any(found.mean_sizes != found.sizes)
    search.restart([1, 3])
    begun = search.triggers()
    np.testing.assert_allclose(begun.mean_sizes, begun.sizes, rtol=1e-5)


def test_search_changes_no_variable_of_the_classifier():
    classifier = planted.classifier()
    before = classifier.get_weights()
    _search(classifier, [0, 3], steps=3)
    for old, new in zip(before, classifier.get_weights()):
        np.testing.assert_array_equal(old, new)


def test_masks_stay_within_their_share():
    search = _search(
        planted.classifier(), [0, 0, 1], penalty=0.0, max_share=0.05
    )
    sizes = search.triggers().sizes
    # Without a penalty they grow as large as they may: 5 % of 64 pixels.
    np.testing.assert_allclose(sizes, 3.2, rtol=1e-3)
    np.testing.assert_array_equal(search.penalties, 0.0)


def test_a_blend_covers_no_pixel_beyond_its_opacity():
    search = _search(
        planted.classifier(),
        [0, 0],
        penalty=0.0,
        max_share=[0.05, 1.0],
        max_opacity=[1.0, 0.2],
    )
    patch, blend = search.triggers().masks
    assert patch.max() > 0.5
    assert 0.15 < blend.max() <= 0.2
    assert blend.sum() > patch.sum()


def test_each_image_is_stamped_with_one_of_the_triggers():
    search = tfbackdoor.TriggerInversion(planted.classifier(), [0, 1])
    images = np.random.default_rng(0).random((32, 8, 8, 1), "float32")
    stamped = search.stamp_one_each(images, [0, 0]).numpy()
    triggers = search.triggers()
    candidates = np.stack(
        [
            images * (1.0 - mask) + mask * pattern
            for mask, pattern in zip(triggers.masks, triggers.patterns)
        ]
    )
    distances = np.abs(candidates - stamped).max(axis=(2, 3, 4))
    assert np.all(distances.min(axis=0) < 1e-6)
    assert set(distances.argmin(axis=0)) == {0, 1}


@pytest.mark.parametrize("name", specimens.NAMES)
def test_search_runs_on_every_kind_of_model(name):
    search = tfbackdoor.TriggerInversion(specimens.build(name), range(4))
    search.compile()
    before = search.triggers().masks
    images = tfbackdoor.from_arrays(*specimens.batch(16))
    search.fit(images.batch(8), verbose=0)
    assert np.abs(search.triggers().masks - before).max() > 1e-3
    assert search(specimens.batch(5)[0]).shape == (4, 5, 4)


def test_two_replicas_find_what_one_device_finds(two_replicas):
    images, labels = specimens.batch(16)
    batches = tf.data.Dataset.from_tensor_slices((images, labels)).batch(16)
    found = []
    for scope in (tf.distribute.get_strategy(), two_replicas):
        with scope.scope():
            search = tfbackdoor.TriggerInversion(
                specimens.build("functional"), [1, 2]
            )
            search.compile()
            search.fit(batches, epochs=2, shuffle=False, verbose=0)
            found.append(search.triggers())
    one, two = found
    np.testing.assert_allclose(one.masks, two.masks, atol=1e-4)
    np.testing.assert_allclose(one.success, two.success, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"targets": []}, "`targets` must be classes, 0 to 5"),
        ({"targets": [6]}, "`targets` must be classes, 0 to 5"),
        ({"targets": [0], "max_share": 0.0}, "`max_share` must lie in"),
        ({"targets": [0], "max_opacity": 1.5}, "`max_opacity` must lie in"),
        (
            {"targets": [0, 1], "max_share": [0.1, 0.1, 0.1]},
            "one number or one for each of 2 targets",
        ),
        ({"targets": [0], "penalty": -1.0}, "`penalty` must be >= 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        tfbackdoor.TriggerInversion(planted.classifier(), **settings)


def test_config_round_trips():
    search = tfbackdoor.TriggerInversion(
        planted.classifier(),
        [1, 1],
        max_share=0.1,
        max_opacity=[1.0, 0.5],
        penalty=0.0,
        seed=4,
    )
    copy = tfbackdoor.TriggerInversion.from_config(search.get_config())
    for name in (
        "targets",
        "max_share",
        "max_opacity",
        "penalty",
        "seed",
        "precision",
    ):
        assert getattr(copy, name) == getattr(search, name)
    np.testing.assert_array_equal(copy.mask_logits, search.mask_logits)
