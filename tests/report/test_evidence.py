"""What a report shows beside numbers."""

import numpy as np
import planted

import tfbackdoor
from tfbackdoor.report import evidence


def _sorted_by_class(count):
    images, labels = next(
        planted.images(count).batch(count).as_numpy_iterator()
    )
    order = np.argsort(labels, kind="stable")
    return images[order], labels[order]


def test_samples_of_a_set_sorted_by_class_are_of_several_classes():
    images, labels = _sorted_by_class(120)
    clean = tfbackdoor.from_arrays(images, labels)
    samples, of_samples = evidence.draw_samples(clean, 8, seed=0)
    assert samples.shape == (8, 8, 8, 1) and len(set(of_samples)) >= 3
    for sample, label in zip(samples, of_samples):
        assert any(
            np.array_equal(sample, image) for image in images[labels == label]
        )
    again, _ = evidence.draw_samples(clean, 8, seed=0)
    np.testing.assert_array_equal(samples, again)
    others, _ = evidence.draw_samples(clean, 8, seed=1)
    assert not np.array_equal(samples, others)


def test_fewer_images_are_fewer_samples():
    samples, labels = evidence.draw_samples(planted.images(3), 8, seed=0)
    assert len(samples) == len(labels) == 3


def test_a_found_trigger_is_stamped_on_images_of_other_classes():
    mask = np.zeros((1, 8, 8, 1))
    mask[0, -1, -1] = 0.75
    triggers = tfbackdoor.defenses.InvertedTriggers(
        np.array([planted.TARGET]), mask, np.ones((1, 8, 8, 1)), np.ones(1)
    )
    images, labels = _sorted_by_class(12)
    (found,) = evidence.find_triggers(
        {"before": planted.classifier()}, triggers, images, labels.tolist()
    )
    assert found.labels == [0, 0, 1, 1]
    # A quarter of the pixel and three quarters of white.
    np.testing.assert_allclose(
        found.stamped[:, -1, -1], 0.25 * images[:4, -1, -1] + 0.75
    )
    np.testing.assert_array_equal(found.stamped[:, 0], images[:4, 0])
    assert len(found.predictions["before"]) == 4


def test_a_trigger_of_the_only_class_among_the_samples_has_no_images():
    triggers = tfbackdoor.defenses.InvertedTriggers(
        np.array([0]), np.ones((1, 8, 8, 1)), np.ones((1, 8, 8, 1)), np.ones(1)
    )
    (found,) = evidence.find_triggers(
        {"before": planted.classifier()},
        triggers,
        np.zeros((2, 8, 8, 1)),
        [0, 0],
    )
    assert found.predictions == {"before": []} and not len(found.stamped)
    assert found.to_json()["stamped"] == []


def test_a_classifier_without_feature_maps_has_no_attention():
    images, _ = _sorted_by_class(2)
    rows = {"before": planted.classifier(), "purified": planted.classifier()}
    assert evidence.attention_of_first(rows, images) == {}
