import json
import math

import keras
import numpy as np
import planted
import pytest
import specimens
import tensorflow as tf

import tfbackdoor
from tfbackdoor.defenses import calibration
from tfbackdoor.defenses import self_distillation
from tfbackdoor.defenses import trigger_unlearning

_FAST = {
    "scan_steps": 150,
    "iterations": 20,
    "hardening_steps": 20,
    "recovery_steps": 150,
    "recovery_rate": 3e-3,
    "padding": 0,
    "precision": "float32",
    "verbose": 0,
}


@pytest.fixture(scope="module")
def purified():
    return tfbackdoor.purify(
        planted.classifier(),
        planted.images(120),
        test=planted.images(120, seed=1),
        poisoning=planted.attack(),
        retune=True,
        **_FAST,
    )


def test_the_planted_backdoor_is_removed(purified):
    classifier, report = purified
    images = planted.images(240, seed=2)
    before = tfbackdoor.evaluate(planted.classifier(), images, planted.attack())
    after = tfbackdoor.evaluate(classifier, images, planted.attack())
    assert before.attack_success.value == 1.0
    assert after.attack_success.value <= 0.1
    assert before.clean_accuracy.value - after.clean_accuracy.value <= 0.03
    assert "the target is class 3" in report.verdict


def test_report_holds_what_was_measured(purified, tmp_path):
    classifier, report = purified
    report.save(tmp_path)
    content = json.loads((tmp_path / "report.json").read_text())
    scores = tfbackdoor.evaluate(
        classifier, planted.images(120, seed=1), planted.attack()
    )
    assert content["test_scores"]["purified"] == scores.to_json()
    assert content["scores"]["purified"]["clean_accuracy"]["images"] == 24
    assert content["settings"]["epsilon"] > 0.0
    assert content["scan"]["suspected"] == planted.TARGET
    assert not content["oracle"]


def test_what_the_retuning_attack_brings_back_is_scored(purified, tmp_path):
    _, report = purified
    assert list(report.test_scores) == [
        "before",
        "hardened",
        "purified",
        "retuned",
    ]
    after, retuned = list(report.test_scores.values())[2:]
    assert retuned.attack_success.total == after.attack_success.total > 0
    assert retuned.to_json() != after.to_json()
    report.save(tmp_path)
    assert "five carry the trigger" in (tmp_path / "report.html").read_text()


def test_a_retuning_attack_must_be_known():
    with pytest.raises(ValueError, match="`retune` must be False where"):
        tfbackdoor.purify(
            planted.classifier(), planted.images(120), retune=True, **_FAST
        )


def test_report_shows_what_was_found_in_images_of_several_classes(purified):
    _, report = purified
    assert len(set(report.sample_labels)) > 1
    (found,) = report.found_triggers
    assert found.target == planted.TARGET
    assert planted.TARGET not in found.labels
    # The trigger works before and no more after.
    assert set(found.predictions["before"]) == {planted.TARGET}
    assert found.predictions["purified"] == found.labels
    assert report.clean_images.tolist() == [20] * planted.CLASSES


def test_report_says_what_took_how_long(purified):
    _, report = purified
    names = [name for name, _ in report.steps]
    assert names[1] == "Scanning for a backdoor" and len(names) == 6
    seconds = [seconds for _, seconds in report.steps]
    assert min(seconds) >= 0.0
    assert sum(seconds) == pytest.approx(report.seconds, abs=1.0)


def test_the_classifier_given_is_not_changed():
    classifier = planted.classifier(255.0)
    before = classifier.get_weights()
    purified, report = tfbackdoor.purify(
        classifier, planted.images(120), **_FAST
    )
    for old, new in zip(before, classifier.get_weights()):
        np.testing.assert_array_equal(old, new)
    # It takes images as the classifier does, and is as plain.
    assert report.settings["value_range"] == "[0, 255]"
    assert [type(layer) for layer in purified.layers] == [
        type(layer) for layer in classifier.layers
    ]
    images, labels = next(iter(planted.images(60).batch(60)))
    right = np.argmax(purified(images * 255.0), 1) == labels.numpy()
    assert right.mean() > 0.95
    assert report.scores["before"].attack_success is None


def test_a_recovery_that_costs_too_much_at_its_last_try_says_so(monkeypatch):
    rates_tried = []

    def ruin(pruned_classifier, *_, optimizer, **__):
        rates_tried.append(float(optimizer.learning_rate))
        ruined = tfbackdoor.copy_classifier(pruned_classifier)
        ruined.set_weights([0.0 * w for w in ruined.get_weights()])
        return ruined

    monkeypatch.setattr(self_distillation, "self_distill", ruin)
    fast = {**_FAST, "scan_steps": 2, "iterations": 2, "recovery_rate": 1e-3}
    _, report = tfbackdoor.purify(
        planted.classifier(), planted.images(60), max_share=1.0, **fast
    )
    np.testing.assert_allclose(rates_tried, [1e-3, 1e-4, 1e-5])
    assert any(
        sentence.startswith("Unlearning costs") and "1e-05" in sentence
        for sentence in report.warnings
    )


def test_a_target_without_clean_images_is_kept():
    clean = planted.images(120).filter(lambda _, y: y != planted.TARGET)
    clean = clean.apply(tf.data.experimental.assert_cardinality(100))
    purified, report = tfbackdoor.purify(planted.classifier(), clean, **_FAST)
    assert report.unlearned == [planted.TARGET]
    test = planted.images(240, seed=2)
    after = tfbackdoor.evaluate(purified, test, planted.attack())
    assert after.attack_success.value <= 0.1
    of_target = test.filter(lambda _, y: y == planted.TARGET)
    of_target = of_target.apply(tf.data.experimental.assert_cardinality(40))
    recall = tfbackdoor.evaluate(purified, of_target).clean_accuracy.value
    assert recall >= 0.9


def test_only_what_is_found_is_purified_where_that_is_asked_for(monkeypatch):
    monkeypatch.setattr(tfbackdoor.Scan, "verdict", "nothing found")
    classifier = planted.classifier()
    purified, report = tfbackdoor.purify(
        classifier, planted.images(60), only_if_found=True, **_FAST
    )
    for old, new in zip(classifier.get_weights(), purified.get_weights()):
        np.testing.assert_array_equal(old, new)
    assert report.hardening is None and not report.curve
    assert "left as it is" in report.verdict


@pytest.mark.parametrize(
    ("settings", "strength"), [({}, 0.5), ({"max_strength": 0.8}, 0.8)]
)
def test_a_classifier_in_which_nothing_is_found_is_hardened(
    monkeypatch, settings, strength
):
    monkeypatch.setattr(tfbackdoor.Scan, "verdict", "nothing found")
    classifier = planted.classifier()
    purified, report = tfbackdoor.purify(
        classifier,
        planted.images(60),
        max_accuracy_drop=1.0,
        **_FAST,
        **settings,
    )
    assert report.settings["hardening_share"] == strength
    assert any(
        np.any(old != new)
        for old, new in zip(classifier.get_weights(), purified.get_weights())
    )
    assert report.hardening.startswith("Hardened at strength")
    assert report.unlearned == [planted.TARGET]
    assert "The classifier was hardened, and triggers of" in report.verdict


def test_where_nothing_is_found_a_large_trigger_is_left(monkeypatch):
    monkeypatch.setattr(tfbackdoor.Scan, "verdict", "nothing found")
    monkeypatch.setattr(tfbackdoor.Scan, "limits", (99.0, 99.0))
    _, report = tfbackdoor.purify(
        planted.classifier(), planted.images(60), max_share=1e-4, **_FAST
    )
    assert report.unlearned == []
    assert "The classifier was hardened, at a cost of" in report.verdict


def test_a_large_trigger_of_a_suspect_that_is_unusual_is_unlearned(monkeypatch):
    monkeypatch.setattr(tfbackdoor.Scan, "verdict", "suspicious")
    # The planted trigger is one pixel of 64, 1.6 %.
    _, report = tfbackdoor.purify(
        planted.classifier(), planted.images(120), max_share=0.01, **_FAST
    )
    assert report.unlearned == [planted.TARGET]


def test_a_choice_by_attack_success_is_an_oracle():
    _, report = tfbackdoor.purify(
        planted.classifier(),
        planted.images(60),
        oracle=planted.attack(),
        **(_FAST | {"recovery_steps": 0}),
    )
    assert report.oracle
    assert report.to_json()["chosen_because"].startswith("Oracle: ")


@pytest.fixture
def recoveries(monkeypatch):
    """The batches and settings of each recovery, which does nothing."""
    calls = []

    def self_distill(pruned_classifier, original, clean, pruned, **settings):
        calls.append((clean, settings))
        return pruned_classifier

    monkeypatch.setattr(self_distillation, "self_distill", self_distill)
    return calls


def test_recovery_sees_the_unlearned_class_in_half_of_its_images(recoveries):
    _, report = tfbackdoor.purify(
        planted.classifier(), planted.images(120), **_FAST
    )
    assert report.unlearned == [planted.TARGET]
    ((clean, _),) = recoveries
    labels = np.concatenate([labels for _, labels in clean.take(40)])
    # 2,560 images drawn: half of them +- 1 %, where a sixth is of the class.
    assert np.mean(labels == planted.TARGET) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("works", "steps"), [(True, 150), (False, 19)])
def test_an_eighth_of_the_steps_unlearns_what_works_no_more(
    recoveries, monkeypatch, works, steps
):
    def still_at_work(classifier, triggers, judge):
        return triggers if works else triggers.of([])

    monkeypatch.setattr(trigger_unlearning, "still_at_work", still_at_work)
    tfbackdoor.purify(planted.classifier(), planted.images(120), **_FAST)
    ((_, settings),) = recoveries
    assert settings["steps"] == steps


@pytest.mark.parametrize(("max_share", "opacity"), [(0.05, 0.0), (0.01, 0.3)])
def test_blends_are_unlearned_where_patches_do_not_call(
    recoveries, max_share, opacity
):
    # The planted trigger is one pixel of 64, 1.6 %.
    tfbackdoor.purify(
        planted.classifier(),
        planted.images(120),
        max_share=max_share,
        max_opacity=0.3,
        **_FAST,
    )
    ((_, settings),) = recoveries
    assert settings["max_opacity"] == opacity


def test_images_that_look_triggered_are_noticed():
    attack = planted.attack()
    clean = planted.images(120).map(
        lambda image, label: (attack.trigger(image), label)
    )
    half = planted.images(120).concatenate(clean)
    _, report = tfbackdoor.purify(
        planted.classifier(),
        half,
        prune=True,
        **(_FAST | {"mask_rate": 1e-6, "recovery_steps": 1}),
    )
    assert any("carry the trigger" in text for text in report.warnings)
    assert any("hardly moved" in text for text in report.warnings)


def test_pruning_is_exactly_at_a_threshold_given():
    settings = _FAST | {"recovery_steps": 0, "iterations": 40}
    _, report = tfbackdoor.purify(
        planted.classifier(), planted.images(60), threshold=0.03, **settings
    )
    assert report.chosen.threshold == 0.03
    assert report.chosen.pruned == sum(map(len, report.pruned.values()))
    for layer, mask in report.neuron_masks.items():
        np.testing.assert_array_equal(
            report.pruned[layer], np.flatnonzero(mask <= 0.03)
        )


@pytest.mark.parametrize(
    ("images", "settings", "error", "message"),
    [
        (planted.images(12), {}, ValueError, "at least 20 images"),
        (planted.images(60), {"epsilonn": 1}, TypeError, "epsilonn"),
        (
            planted.images(60),
            {"tracks": range(59)},
            ValueError,
            "one track for each of 60 images.*Received: 59",
        ),
        (planted.images(60), {"tracks": [7] * 60}, ValueError, "enough for 2"),
        (
            planted.images(60),
            {"tracks": [None] * 60},
            ValueError,
            "a text or a whole number",
        ),
        (planted.images(60), {"flip": "no"}, ValueError, "`flip` must be"),
        (planted.images(60), {"seed": None}, ValueError, "`seed` must be"),
        (planted.images(60), {"padding": 9}, ValueError, "smaller side, 8"),
        (planted.images(60), {"alpha": 2.0}, ValueError, "`alpha` must be"),
        (
            planted.images(60),
            {"class_names": {"a", "b", "c"}},
            ValueError,
            "`class_names` must be a list of",
        ),
        (
            planted.images(60),
            {"class_names": {"a": 0, "b": 1, "c": 2}},
            ValueError,
            "`class_names` must be a list of",
        ),
    ],
)
def test_bad_input_is_refused(images, settings, error, message):
    with pytest.raises(error, match=message):
        tfbackdoor.purify(planted.classifier(), images, **settings)


def test_chosen_epsilon_brings_the_loss_that_was_asked_for():
    classifier = specimens.build("functional")
    images, _ = specimens.batch(64)
    labels = np.argmax(classifier(images), axis=1)
    batches = tfbackdoor.training_batches(
        tfbackdoor.from_arrays(images, labels), 32, replacement=True
    )

    def loss(epsilon):
        probe = tfbackdoor.AdversarialNeuronPruning(classifier, epsilon=epsilon)
        probe.compile(keras.optimizers.SGD(0.0))
        history = probe.fit(batches, steps_per_epoch=4, verbose=0).history
        return history["perturbed_loss"][-1]

    epsilon = calibration.choose_epsilon(
        classifier, batches, loss_in_classes=1.0
    )
    wanted = math.log(4)
    assert loss(epsilon / 1.5) < wanted < loss(epsilon * 1.5)


def test_augmentation_is_what_the_classifier_bears():
    # A region is 10 pixels of a row-major image of 8 columns: mirrored or
    # shifted, its light falls into other regions; a blank shift does nothing.
    images = planted.images(60)
    classifier = planted.classifier()
    assert tfbackdoor.defenses.choose_augmentation(classifier, images) == (
        False,
        0,
    )
    blind = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.GlobalMaxPooling2D(),
            keras.layers.Dense(planted.CLASSES, name="head"),
        ]
    )
    assert tfbackdoor.defenses.choose_augmentation(blind, images) == (True, 1)
    kept = tfbackdoor.defenses.choose_augmentation(
        classifier, images, flip=True, padding=3
    )
    assert kept == (True, 3)
