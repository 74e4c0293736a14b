import dataclasses
import json

import keras
import numpy as np
import planted
import pytest
import specimens
import tensorflow as tf

import tfbackdoor
from tfbackdoor.defenses import calibration
from tfbackdoor.defenses import perturbed_answers
from tfbackdoor.network import batch_size
from tfbackdoor.scanning import patch_inversion


def test_scan_names_the_planted_target():
    found = tfbackdoor.scan(
        planted.classifier(), planted.images(60), steps=150, verbose=0
    )
    assert found.verdict == "backdoored"
    assert found.suspected == planted.TARGET
    assert found.suspects == [planted.TARGET]
    assert str(found) == "backdoored; the target is class 3"
    assert found.to_json()["anomalies"][3] == found.anomalies.max() > 3.5


def test_scan_clears_the_classifier_without_its_backdoor():
    classifier = planted.classifier()
    head = classifier.get_layer("head")
    kernel = head.kernel.numpy()
    kernel[planted.CLASSES] = 0.0
    head.kernel.assign(kernel)
    found = tfbackdoor.scan(
        classifier, planted.images(60), steps=150, verbose=0
    )
    assert found.verdict != "backdoored"
    assert found.suspected is None


# Logs are 0, 1, 2, 3, 4: the median 2, the deviations below it 0, 1, 2.
def test_anomaly_is_counted_in_deviations_below_the_median():
    scores = patch_inversion.anomaly_scores(
        np.exp([0.0, 1, 2, 3, 4]), np.ones(5)
    )
    expected = np.array([2.0, 1.0, 0.0, -1.0, -2.0]) / 1.4826
    np.testing.assert_allclose(scores, expected)


def test_a_trigger_that_failed_is_not_suspicious():
    sizes = np.array([0.01, 20.0, 21.0, 22.0, 23.0])
    scores = patch_inversion.anomaly_scores(sizes, [0.1, 1.0, 1.0, 1.0, 1.0])
    assert scores[0] <= 0.0


def test_what_is_usual_is_told_by_the_references_alone():
    sizes = np.exp([0.0, 1, 2, 3, 4, -6, -6.5])
    scores = patch_inversion.anomaly_scores(sizes, np.ones(7), references=5)
    # The usual median is 2, the median of 0, 1 and 2 below it 1.
    expected = np.array([2.0, 1, 0, -1, -2, 8, 8.5]) / 1.4826
    np.testing.assert_allclose(scores, expected)


# Of 10 normal numbers the largest exceeds 3.5 in 0.233 % of all cases. Of 43
# it is 3.87 that is exceeded as seldom, of 200 4.23 (scipy.stats.norm.isf).
@pytest.mark.parametrize(
    ("classes", "unusual", "extreme"),
    [(4, 2.5, 3.5), (10, 2.5, 3.5), (43, 2.980, 3.873), (200, 3.421, 4.231)],
)
def test_limits_know_the_number_of_classes(classes, unusual, extreme):
    found = _scan([0.0] * classes, [1.0 / classes] * classes)
    assert found.limits == pytest.approx((unusual, extreme), abs=2e-3)


def test_a_search_without_any_success_is_suspicious():
    found = _scan([0, 0.5, 1, 0, 2, 0], _SPREAD)
    failed = dataclasses.replace(found.triggers, success=np.full(6, 0.4))
    found = dataclasses.replace(found, triggers=failed)
    assert found.verdict == "suspicious"
    assert "no trigger was found for any class" in str(found)


def _of_many_classes(count):
    """The planted classifier with classes that no image belongs to."""
    planted_model = planted.classifier()
    more = count - planted.CLASSES
    x = planted_model.get_layer("hidden").output
    head = keras.layers.Dense(count)
    model = keras.Model(planted_model.input, head(x))
    kernel, bias = planted_model.get_layer("head").get_weights()
    rng = np.random.default_rng(0)
    unused = 0.3 * rng.normal(size=(len(kernel), more))
    head.set_weights(
        [np.hstack([kernel, unused]), np.hstack([bias, np.full(more, -3.0)])]
    )
    return model


def test_of_many_classes_the_candidates_are_searched():
    found = tfbackdoor.scan(
        _of_many_classes(30), planted.images(60), steps=120, verbose=0
    )
    searched = found.triggers.targets
    assert len(set(searched)) == len(searched) == 20
    assert planted.TARGET in searched
    assert np.isfinite(found.anomalies).sum() == 20
    assert np.nanargmax(found.anomalies) == planted.TARGET
    assert found.suspected == planted.TARGET
    assert json.dumps(found.to_json(), allow_nan=False)


def test_groups_of_classes_give_what_all_at_once_give(monkeypatch):
    settings = {"steps": 60, "seed": 0, "precision": None, "verbose": 0}
    searched = [planted.classifier(), planted.images(60), [3, 0, 1, 2, 4]]
    together = patch_inversion.smallest_triggers(*searched, **settings)
    monkeypatch.setattr(batch_size, "batch_size_for", lambda *_, **__: 2 * 16)
    in_groups = patch_inversion.smallest_triggers(*searched, **settings)
    np.testing.assert_array_equal(in_groups.targets, [3, 0, 1, 2, 4])
    np.testing.assert_allclose(
        np.log(in_groups.sizes), np.log(together.sizes), atol=0.5
    )


def _scan(anomalies, error_shares):
    count = len(anomalies)
    patches = np.ones((count, 2, 2, 1))
    triggers = tfbackdoor.defenses.InvertedTriggers(
        np.arange(count), patches, patches, np.ones(count)
    )
    return tfbackdoor.Scan(
        np.array(anomalies), triggers, np.array(error_shares), 0.2
    )


_SPREAD = [0.2, 0.2, 0.2, 0.2, 0.1, 0.1]
_IN_FOUR = [0.1, 0.1, 0.05, 0.05, 0.7, 0.0]


@pytest.mark.parametrize(
    ("anomalies", "error_shares", "verdict", "suspects"),
    [
        ([0, 0.5, 1, 0, 2, 0], _SPREAD, "nothing found", []),
        ([0, 0.5, 1, 0, 2, 0], _IN_FOUR, "suspicious", [4, 2, 1]),
        ([0, 0.5, 2, 0, 1, 0], _IN_FOUR, "suspicious", [4, 2, 1]),
        ([0, 0.5, 1, 0, 3, 0], _SPREAD, "suspicious", [4, 2, 1]),
        ([0, 0.5, 1, 0, 3, 0], _IN_FOUR, "backdoored", [4]),
        ([0, 0.5, 3, 0, 1, 0], _IN_FOUR, "suspicious", [4, 2, 1]),
        ([0, 5, 1, 0, 4, 0], _SPREAD, "backdoored", [1, 4]),
        ([9, 0, 0], [1.0, 0.0, 0.0], "suspicious", [0, 1, 2]),
    ],
)
def test_verdict_of_patches_and_errors(
    anomalies, error_shares, verdict, suspects
):
    found = _scan(anomalies, error_shares)
    assert (found.verdict, found.suspects) == (verdict, suspects)
    suspected = suspects[0] if verdict == "backdoored" else None
    assert found.suspected == suspected


_MARGINS = [10.0, 11.0, 12.0, 13.0, 14.0, 15.0]
_NOTHING = [0.0] * 6


def _signals(**signals):
    return dataclasses.replace(
        _scan(_NOTHING, _SPREAD),
        **{name: np.array(values) for name, values in signals.items()},
    )


# The logarithms of the margins lie within 0.21 of each other.
@pytest.mark.parametrize(
    ("signals", "verdict", "suspected"),
    [
        ({"margins": _MARGINS}, "nothing found", None),
        ({"margins": [10, 11, 28, 12, 13, 11]}, "suspicious", None),
        ({"margins": [10, 11, 40, 12, 13, 11]}, "backdoored", 2),
        # Ascent reaches two classes: what is usual is not known.
        ({"margins": [-3, -2, -1, -4, 0.2, 30]}, "nothing found", None),
        ({"wave_answers": [0, 0.1, 0.2, 0, 0, 0.1]}, "nothing found", None),
        ({"wave_answers": [0, 0.1, 0.9, 0, 0, 0.1]}, "backdoored", 2),
        ({"one_to_one": [0.5, 0, 0, 0, 0, 0]}, "nothing found", None),
        ({"one_to_one": [0.6] * 6}, "backdoored", None),
    ],
)
def test_each_signal_alone_tells_its_target(signals, verdict, suspected):
    found = _signals(**signals)
    assert (found.verdict, found.suspected) == (verdict, suspected)
    if suspected is not None:
        assert found.suspects == [suspected]
    assert json.dumps(found.to_json(), allow_nan=False)


def test_where_classes_are_permuted_all_are_suspects():
    found = _signals(one_to_one=[0.6] * 6)
    assert found.all_to_all and sorted(found.suspects) == list(range(6))
    assert str(found) == "backdoored; a small trigger permutes the classes"


def test_a_suspect_may_have_no_patch():
    found = _signals(wave_answers=[0, 0, 0, 0, 0, 0.9])
    found = dataclasses.replace(
        found,
        anomalies=np.array([0.0] * 5 + [np.nan]),
        triggers=found.triggers.first(5),
    )
    assert found.suspects == [5]
    assert len(found.triggers.of(found.suspects).targets) == 0
    assert found.to_json()["anomalies"][5] is None


@pytest.mark.parametrize("policy", ["mixed_float16", "float64"])
def test_the_users_policy_is_for_the_users_models(policy):
    classifier, before = planted.classifier(), keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        found = tfbackdoor.scan(
            classifier, planted.images(60), steps=2, verbose=0
        )
        assert keras.config.dtype_policy().name == policy
    finally:
        keras.config.set_dtype_policy(before)
    assert np.isfinite(found.margins).all()


def test_margins_are_judged_by_those_above_the_median():
    found = _signals(margins=np.exp([1.0, 2.0, 3.0, 4.0, 5.0, 9.0]))
    # The median is 3.5; the deviations above it are 0.5, 1.5 and 5.5.
    expected = (np.array([1, 2, 3, 4, 5, 9]) - 3.5) / (1.4826 * 1.5)
    np.testing.assert_allclose(found.margin_anomalies, expected)


def test_probability_grows_with_all_signals_of_one_class():
    nothing = _signals()
    one = _signals(wave_answers=[0, 0, 0.4, 0, 0, 0])
    other = _signals(
        wave_answers=[0, 0, 0.4, 0, 0, 0], margins=[1, 1, 1, 2, 1, 1]
    )
    same = _signals(
        wave_answers=[0, 0, 0.4, 0, 0, 0], margins=[1, 1, 2, 1, 1, 1]
    )
    chances = [x.probability for x in (nothing, one, other, same)]
    assert 0.0 < chances[0] < chances[1] <= chances[2] < chances[3] < 1.0
    assert nothing.probability < 0.5 < _signals(one_to_one=[1] * 6).probability


def test_two_replicas_find_the_epsilon_and_the_errors_of_one(two_replicas):
    found = []
    for strategy in (tf.distribute.get_strategy(), two_replicas):
        batches = tfbackdoor.training_batches(
            planted.images(60), 32, replacement=True
        )
        with strategy.scope():
            probe = perturbed_answers.PerturbedAnswers(planted.classifier())
            epsilon = calibration.find_epsilon(probe, batches)
            answers = probe.answer(batches.take(3), epsilon)
        found.append((epsilon, answers.loss, answers.mistaken))
    alone, together = found
    assert alone[0] == together[0]
    assert alone[1] == pytest.approx(together[1], rel=1e-4)
    np.testing.assert_array_equal(alone[2], together[2])
    assert 0 < alone[2].sum() <= 96


def test_errors_under_perturbation_gather_in_the_planted_target():
    batches = tfbackdoor.training_batches(
        planted.images(60), 32, replacement=True
    )
    shares = tfbackdoor.scanning.error_shares(
        planted.classifier(), batches, 0.5
    )
    assert shares.sum() == pytest.approx(1.0)
    assert np.argmax(shares) == planted.TARGET


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_value_range_of_a_classifier_is_found(activation):
    images = planted.images(60)
    for levels, name in ((1.0, "[0, 1]"), (255.0, "[0, 255]")):
        classifier = planted.classifier(levels, activation)
        found = tfbackdoor.find_value_range(classifier, images)
        assert found.accuracies[name] == tfbackdoor.Rate(60, 60)
        adapted = found.adapt(classifier)
        scores = tfbackdoor.evaluate(adapted, images)
        assert scores.clean_accuracy == tfbackdoor.Rate(60, 60)
        assert found.restore(adapted) is classifier


def test_accuracy_at_chance_names_the_ranges_tried():
    images = tfbackdoor.from_arrays(*specimens.batch(60))
    with pytest.raises(ValueError) as error:
        tfbackdoor.find_value_range(specimens.build("functional"), images)
    for part in ("`clean`", "[0, 1]", "[0, 255]", "[-1, 1]", "chance"):
        assert part in str(error.value)


def test_another_order_of_labels_is_noticed():
    shifted = planted.images(60).map(
        lambda image, label: (image, (label + 1) % planted.CLASSES)
    )
    with pytest.raises(ValueError, match=r"it would be 100\.0 %"):
        tfbackdoor.find_value_range(planted.classifier(), shifted)
