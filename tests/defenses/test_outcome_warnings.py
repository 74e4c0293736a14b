"""What looks odd about the outcome of a defense is said in sentences."""

import numpy as np
import planted
import pytest

import tfbackdoor
from tfbackdoor import rates
from tfbackdoor.defenses import outcome_warnings


def _warnings(purified, clean=None, masks=None, judged=None):
    return outcome_warnings.outcome_warnings(
        planted.classifier(),
        purified,
        clean or planted.images(60),
        masks or {},
        judged,
    )


def _scores(right):
    """Scores of images, by class whether each of its images is recognised."""
    correct = np.concatenate([np.array(x, bool) for x in right.values()])
    labels = np.concatenate([np.full(len(x), k) for k, x in right.items()])
    accuracy = rates.Rate(int(correct.sum()), len(correct))
    return rates.Scores(accuracy, correct=correct, labels=labels)


def _judged(before, after, images="held-out"):
    return {images: {"before": _scores(before), "purified": _scores(after)}}


def test_nothing_odd_is_nothing_said():
    assert _warnings(planted.classifier()) == []


def test_a_purified_classifier_of_one_class_is_of_no_use():
    purified = planted.classifier()
    purified.get_layer("head").bias.assign([0.0, 0.0, 99.0, 0.0, 0.0, 0.0])
    of_no_use, accuracy, classes = _warnings(purified)
    assert "answers class 2 to all clean images" in of_no_use
    # Ten of each of six classes are left right: p = 51/62, q = 1/62.
    assert accuracy.startswith(
        "Accuracy on the clean images fell from 100.0 to 16.7 %, by 83.3 points"
    )
    for label in (0, 1, 3, 4, 5):
        assert f"class {label} from 100 to 0 % of 10" in classes


def test_masks_that_hardly_moved_are_named():
    (warning,) = _warnings(planted.classifier(), masks={"a": np.ones(3)})
    assert "hardly moved (the smallest is 1.00)" in warning


def test_the_class_that_fell_is_named_and_where():
    whole = {k: [1] * 20 for k in range(planted.CLASSES)}
    fallen = whole | {4: [1] * 12 + [0] * 8, 5: [1] * 19 + [0]}
    judged = _judged(whole, whole) | _judged(whole, fallen, "test")
    (warning,) = _warnings(planted.classifier(), judged=judged)
    assert warning == (
        "Fewer of the test images of a class are recognised: "
        "class 4 from 100 to 60 % of 20."
    )


def test_few_images_are_too_few_to_say_that_a_class_fell():
    whole = {k: [1] * 5 for k in range(planted.CLASSES)}
    fallen = whole | {4: [1, 1, 0, 0, 0]}
    judged = _judged(whole, fallen)
    assert _warnings(planted.classifier(), judged=judged) == []


def test_a_class_that_no_image_judges_is_named():
    seen = {k: [1] * 5 for k in (0, 2, 3, 5)}
    judged = {**_judged(seen, seen), "test": {}}
    (warning,) = _warnings(planted.classifier(), judged=judged)
    assert warning == (
        "No held-out image is of classes 1, 4: whether the purified "
        "classifier still recognises them is not known."
    )
    # Test images of one of them judge that one.
    judged |= _judged({1: [1]}, {1: [1]}, "test")
    (warning,) = _warnings(planted.classifier(), judged=judged)
    assert "No held-out or test image is of class 4: whether" in warning


def test_a_defense_that_ruins_a_classifier_says_so():
    with pytest.warns(
        tfbackdoor.defenses.DefenseWarning, match="fine_tuning: .*Accuracy on"
    ):
        outcome = tfbackdoor.defend(
            "fine_tuning",
            planted.classifier(),
            planted.images(60),
            flip=True,
            padding=4,
            epochs=2,
            learning_rate=100.0,
            verbose=0,
        )
    assert any("Accuracy on the clean" in text for text in outcome.warnings)
    assert outcome.to_json()["warnings"] == outcome.warnings


def test_a_defense_that_does_no_harm_is_silent():
    outcome = tfbackdoor.defend(
        "fine_tuning",
        planted.classifier(),
        planted.images(60),
        flip=False,
        padding=0,
        epochs=1,
        cutout_holes=0,
        learning_rate=1e-6,
        verbose=0,
    )
    assert outcome.warnings == []
