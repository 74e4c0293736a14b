import keras
import numpy as np
import planted
import pytest
import specimens
import tensorflow as tf

import tfbackdoor
from tfbackdoor.defend import check_defense
from tfbackdoor.defenses import calibration
from tfbackdoor.defenses import self_distillation
from tfbackdoor.training import run_settings

_NAMES = [
    "anp",
    "fine_pruning",
    "fine_tuning",
    "ft_sam",
    "hardening",
    "i_bau",
    "mode_connectivity",
    "nad",
    "purify",
    "rnp",
]
_FEW_STEPS = {
    "anp": {"iterations": 10},
    "i_bau": {"rounds": 1},
    "nad": {"epochs": 1, "teacher_epochs": 1},
    "mode_connectivity": {"epochs": 1, "end_settings": {"epochs": 1}},
    "hardening": {"steps": 2},
    "purify": {
        "scan_steps": 2,
        "hardening_steps": 2,
        "iterations": 2,
        "recovery_steps": 2,
        "threshold": 0.0,
    },
}


# What a few steps do to tiny networks looks odd; test_outcome_warnings judges
# when that is said.
pytestmark = pytest.mark.filterwarnings(
    "ignore::tfbackdoor.defenses.DefenseWarning"
)


@pytest.fixture(scope="module")
def backdoored():
    """A classifier of digits with a backdoor, clean images, tests, attack."""
    tfbackdoor.set_seed(0)
    train, test = (
        tfbackdoor.in_memory(tfbackdoor.load_images("digits", split))
        for split in ("train", "test")
    )
    attacker, clean = tfbackdoor.split_images(train, [900, 300])
    poisoned, poisoning = tfbackdoor.attacks.poison(
        attacker,
        tfbackdoor.Poisoning(
            tfbackdoor.make_trigger("checkerboard", (16, 16, 1)),
            classes=10,
            rate=0.1,
        ),
    )
    classifier = tfbackdoor.models.wide_resnet((16, 16, 1), 10, depth=10)
    training = tfbackdoor.training.ClassifierTraining(classifier)
    batches = tfbackdoor.augment(
        tfbackdoor.training_batches(poisoned, 32), padding=1, flip=False
    )
    rate = keras.optimizers.schedules.CosineDecay(0.1, 6 * len(batches))
    training.compile(tfbackdoor.training.CoupledSGD(rate, l2=5e-4))
    training.fit(batches, epochs=6, verbose=0)
    before = tfbackdoor.evaluate(classifier, test, poisoning)
    assert before.attack_success.value > 0.9
    assert before.clean_accuracy.value > 0.95
    return classifier, clean, test, poisoning, before


_TUNING = {"epochs": 4, "batch_size": 16, "cutout_holes": 0}


@pytest.mark.parametrize(
    ("defense", "settings"),
    [
        ("fine_tuning", _TUNING),
        (
            "mode_connectivity",
            {
                "epochs": 4,
                "batch_size": 32,
                "points": (0.3, 0.5, 0.7),
                "end_settings": _TUNING,
            },
        ),
        (
            "nad",
            {
                **_TUNING,
                "epochs": 8,
                "decay_every": 4,
                "learning_rate": 0.05,
                "taps": ["group1", "group2", "group3"],
            },
        ),
    ],
)
def test_defenses_lower_attack_success_and_keep_accuracy(
    backdoored, defense, settings
):
    classifier, clean, test, poisoning, before = backdoored
    weights = classifier.get_weights()
    purified = tfbackdoor.defend(
        defense,
        classifier,
        clean,
        flip=False,
        padding=1,
        verbose=0,
        **settings,
    ).classifier
    after = tfbackdoor.evaluate(purified, test, poisoning)
    assert after.attack_success.value < 0.5 * before.attack_success.value
    assert after.clean_accuracy.value > before.clean_accuracy.value - 0.06
    for old, new in zip(weights, classifier.get_weights()):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("defense", "settings"),
    [
        ("fine_pruning", {"epochs": 2}),
        ("anp", {"epsilon": 0.3, "iterations": 200}),
    ],
)
def test_pruning_removes_the_planted_backdoor(defense, settings):
    outcome = tfbackdoor.defend(
        defense,
        planted.classifier(),
        planted.images(120),
        flip=False,
        padding=0,
        verbose=0,
        **settings,
    )
    test, attack = planted.images(120, seed=1), planted.attack()
    scores = tfbackdoor.evaluate(outcome.classifier, test, attack)
    assert scores.attack_success.value == 0.0
    assert scores.clean_accuracy.value >= 0.97
    assert 6 in outcome.found["pruned"]["hidden"]


@pytest.mark.parametrize("defense", _NAMES)
def test_every_defense_gives_a_plain_copy(defense):
    classifier = specimens.build("functional")
    clean = tfbackdoor.from_arrays(*specimens.batch(40))
    if defense == "purify":  # It refuses a classifier at chance.
        classifier, clean = planted.classifier(), planted.images(40)
    before = classifier.get_weights()
    outcome = tfbackdoor.defend(
        defense,
        classifier,
        clean,
        flip=False,
        padding=1,
        verbose=0,
        **_FEW_STEPS.get(defense, {"epochs": 1}),
    )
    assert [type(x) for x in outcome.classifier.layers] == [
        type(x) for x in classifier.layers
    ]
    for old, new in zip(before, classifier.get_weights()):
        np.testing.assert_array_equal(old, new)
    assert all(np.isfinite(w).all() for w in outcome.classifier.get_weights())
    names = {
        "anp": ["after ANP"],
        "fine_pruning": ["pruned", "after fine-pruning"],
        "fine_tuning": ["after fine-tuning"],
        "ft_sam": ["after FT-SAM"],
        "hardening": ["hardened"],
        "i_bau": ["after i-BAU"],
        "mode_connectivity": ["fine-tuned", "after mode connectivity"],
        "nad": ["teacher", "after NAD"],
        "purify": ["purified"],
        "rnp": ["after RNP"],
    }
    assert list(outcome.stages) == names[defense]


def test_nad_chooses_its_learning_rate_where_none_is_given():
    classifier = specimens.build("functional")
    clean = tfbackdoor.from_arrays(*specimens.batch(40))
    settings = {"padding": 1, "verbose": 0, "batch_size": 8, "epochs": 1}
    settings["teacher_epochs"] = 1
    chosen = tfbackdoor.defend(
        "nad", classifier, clean, learning_rate=None, **settings
    )
    rate = chosen.details["learning_rate"]
    assert rate in chosen.details["held_out_accuracy"]
    assert 0.0 <= chosen.details["teachers_held_out_accuracy"] <= 1.0
    given = tfbackdoor.defend(
        "nad", classifier, clean, learning_rate=rate, **settings
    )
    # What was held out to choose by is learned from in the end.
    for ours, theirs in zip(
        chosen.classifier.get_weights(), given.classifier.get_weights()
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_nads_teacher_learns_at_a_rate_of_its_own():
    classifier = specimens.build("functional")
    clean = tfbackdoor.from_arrays(*specimens.batch(40))
    teachers = [
        tfbackdoor.defend(
            "nad",
            classifier,
            clean,
            teacher_rate=rate,
            epochs=1,
            teacher_epochs=1,
            padding=1,
            verbose=0,
        ).stages["teacher"]
        for rate in (1e-9, 0.1)
    ]
    distances = [
        max(
            np.abs(before.numpy() - after.numpy()).max()
            for before, after in zip(
                classifier.trainable_weights, teacher.trainable_weights
            )
        )
        for teacher in teachers
    ]
    assert distances[0] < 1e-6 < 1e-3 < distances[1]


def test_choices_see_only_held_out_clean_images():
    kept = run_settings.RunSettings(seed=3)
    numbers = tf.data.Dataset.range(50).map(lambda i: (i, i))
    *parts, run = kept.hold_out(numbers, 0.2)
    optimise, judge = ({int(i) for i, _ in part} for part in parts)
    assert (len(optimise), len(judge)) == (40, 10) and not optimise & judge
    assert run == kept
    for share in (0.0, 0.001, 1.0):
        with pytest.raises(ValueError, match="`held_out` must leave images"):
            kept.hold_out(numbers, share)


def test_folds_judge_every_image_once_by_what_the_others_teach():
    numbers = tf.data.Dataset.range(10).map(lambda i: (i, i))
    folds = run_settings.RunSettings(seed=3).folds(numbers, 3)
    judged = []
    for optimise, judge in folds:
        optimise, judge = ([int(i) for i, _ in x] for x in (optimise, judge))
        assert sorted(optimise + judge) == list(range(10))
        judged += judge
    assert sorted(judged) == list(range(10))
    for count in (1, 11):
        with pytest.raises(ValueError, match=f"folds={count} of 10 clean"):
            run_settings.RunSettings().folds(numbers, count)


def test_no_part_judges_what_another_has_seen_of_it():
    """Ten things of each of five classes, in four images each."""
    things = np.repeat(np.arange(50), 4)
    order = np.random.default_rng(0).permutation(200)
    things = things[order]
    images = tf.data.Dataset.from_tensor_slices((things, things % 5))
    run = run_settings.RunSettings(seed=3, tracks=things)
    optimise, judge, within = run.hold_out(images, 0.2)
    seen, judged = ([int(i) for i, _ in x] for x in (optimise, judge))
    assert sorted(seen + judged) == sorted(things)
    assert not set(seen) & set(judged)
    assert (len(seen), len(judged)) == (160, 40)
    # Two things of each class judge.
    assert np.bincount(np.unique(judged) % 5).tolist() == [2] * 5
    assert within.tracks.tolist() == seen
    folds = [
        [{int(i) for i, _ in part} for part in parts]
        for parts in within.folds(optimise, 2)
    ]
    assert folds[0] == folds[1][::-1]
    for others, part in folds:
        assert others | part == set(seen) and not others & part


def test_too_few_tracks_are_refused():
    images = tf.data.Dataset.range(20).map(lambda i: (i, i % 2))
    run = run_settings.RunSettings(tracks=np.zeros(20, int))
    with pytest.raises(ValueError, match="`tracks` must be enough.*: 1 track"):
        run.hold_out(images, 0.2)


def test_recovery_after_anp_sees_all_clean_images(monkeypatch):
    batches = []

    def self_distill(pruned_classifier, original, clean, *_, **__):
        batches.extend(clean.take(60).as_numpy_iterator())
        return pruned_classifier

    monkeypatch.setattr(self_distillation, "self_distill", self_distill)
    tfbackdoor.defend(
        "anp",
        planted.classifier(),
        planted.images(30),
        flip=False,
        padding=0,
        verbose=0,
        iterations=10,
        recovery_steps=1,
        recovery_batch_size=7,
    )
    assert {len(images) for images, _ in batches} == {7}
    drawn = {image.tobytes() for images, _ in batches for image in images}
    given = {
        image.tobytes() for image, _ in planted.images(30).as_numpy_iterator()
    }
    assert drawn == given


def test_ends_and_point_of_the_curve_can_be_given():
    classifier = specimens.build("functional")
    clean = tfbackdoor.from_arrays(*specimens.batch(40))
    settings = {"epochs": 1, "verbose": 0, "t": 0.0}
    outcome = tfbackdoor.defend(
        "mode_connectivity", classifier, clean, ends="backdoored", **settings
    )
    curve = outcome.found["curve"]
    assert curve.start is classifier
    assert outcome.details == {"t": 0.0, "ends": "backdoored"}
    for given, start in zip(
        outcome.classifier.trainable_weights, classifier.trainable_weights
    ):
        np.testing.assert_allclose(given, start, atol=1e-6)
    with pytest.raises(ValueError, match="`ends` must be one of"):
        tfbackdoor.defend(
            "mode_connectivity", classifier, clean, ends="both", **settings
        )


def test_two_fine_tuned_ends_see_other_draws():
    outcome = tfbackdoor.defend(
        "mode_connectivity",
        specimens.build("functional"),
        tfbackdoor.from_arrays(*specimens.batch(40)),
        padding=1,
        epochs=1,
        verbose=0,
        t=0.5,
        end_settings={"epochs": 1, "batch_size": 8, "learning_rate": 0.01},
    )
    curve = outcome.found["curve"]
    gap = [
        np.abs(a - b).max()
        for a, b in zip(curve.start.get_weights(), curve.end.get_weights())
    ]
    assert max(gap) > 1e-3


def test_unknown_names_list_the_valid_ones():
    assert sorted(tfbackdoor.DEFENSES) == _NAMES
    classifier, clean = planted.classifier(), planted.images(40)
    with pytest.raises(ValueError, match="'fine_pruning'.*Received: 'anpp'"):
        tfbackdoor.defend("anpp", classifier, clean)
    with pytest.raises(TypeError, match=r"'epsilon'.*Received: \['epsilonn'\]"):
        tfbackdoor.defend("anp", classifier, clean, epsilonn=0.4)
    check_defense("anp", ["epsilon", "iterations"])


def test_images_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="`clean` must hold images"):
        tfbackdoor.defend(
            "fine_tuning",
            planted.classifier(),
            tfbackdoor.from_arrays(*specimens.batch(40)),
        )


def test_anp_prunes_alike_on_two_replicas(two_replicas):
    pruned = []
    for strategy in (tf.distribute.get_strategy(), two_replicas):
        with strategy.scope():
            outcome = tfbackdoor.defend(
                "anp",
                planted.classifier(),
                planted.images(60),
                flip=False,
                padding=0,
                epsilon=0.3,
                iterations=100,
                verbose=0,
            )
        pruned.append(outcome.found["pruned"]["hidden"].tolist())
        assert outcome.details["threshold_chosen_by"] == (
            "held-out clean accuracy"
        )
    assert pruned[0] == pruned[1]


def test_anp_calibrates_its_perturbation_where_none_is_given(monkeypatch):
    classifier, clean = planted.classifier(), planted.images(60)
    given = []
    monkeypatch.setattr(
        calibration, "choose_epsilon", lambda *args, **kwargs: 0.123
    )
    monkeypatch.setattr(
        tfbackdoor.AdversarialNeuronPruning,
        "fit",
        lambda anp, *args, **kwargs: given.append(anp.epsilon),
    )
    for epsilon in (None, 0.4):
        outcome = tfbackdoor.defend(
            "anp", classifier, clean, epsilon=epsilon, verbose=0
        )
        assert outcome.details["epsilon"] == given[-1]
    assert given == [0.123, 0.4]


def test_anp_makes_as_many_iterations_as_asked_for(monkeypatch):
    made = []

    def count(anp, batches, *, steps_per_epoch, epochs, **settings):
        made.append(steps_per_epoch * epochs)

    monkeypatch.setattr(tfbackdoor.AdversarialNeuronPruning, "fit", count)
    for iterations in (1, 100, 150, 2000):
        tfbackdoor.defend(
            "anp",
            planted.classifier(),
            planted.images(40),
            iterations=iterations,
            verbose=0,
        )
    assert made == [1, 100, 150, 2000]
