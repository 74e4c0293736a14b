"""A setting that no method could follow is refused before any work."""

import keras
import numpy as np
import planted
import pytest

import tfbackdoor
from tfbackdoor.defend import defense_settings
from tfbackdoor.training import setting_ranges


def _purify(**settings):
    return tfbackdoor.purify(
        planted.classifier(), planted.images(60), **settings
    )


_TRIGGER = tfbackdoor.make_trigger("checkerboard", (8, 8, 1))
_LARGER = tfbackdoor.make_trigger("checkerboard", (16, 16, 3))


def _poisoning(trigger=_TRIGGER, classes=6, **settings):
    return tfbackdoor.Poisoning(trigger, classes=classes, **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"seed": -1},
        {"seed": 1.5},
        {"scan_steps": 0},
        {"scan_steps": True},
        {"iterations": 0},
        {"hardening_steps": -1},
        {"recovery_steps": 2.5},
        {"recovery_rate": 0.0},
        {"hardening_rate": float("nan")},
        {"mask_rate": "0.2"},
        {"held_out": 1.0},
        {"max_accuracy_drop": 2.0},
        {"threshold": -0.1},
        {"max_share": 0.0},
        {"max_opacity": 1.5},
        {"mixup": -0.5},
        {"padding": -1},
        {"epsilon": -1.0},
        {"precision": "float16"},
        {"class_names": ["zero", "one"]},
        {"class_names": "abcdef"},
        {"class_names": [0, 1, 2, 3, 4, 5]},
    ],
)
def test_purify_refuses_a_setting_before_it_scans(settings, capsys):
    (name,) = settings
    with pytest.raises(ValueError, match=f"`{name}` must .*Received: "):
        _purify(**settings)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("poisoning", "error", "message"),
    [
        (_TRIGGER, TypeError, "must be a Poisoning.*Received: Trigger"),
        ("badnets", TypeError, "must be a Poisoning.*Received: str"),
        (
            _poisoning(classes=5, mode="all_to_all"),
            ValueError,
            "6 classes.*classes=5",
        ),
        (_poisoning(classes=10, target=7), ValueError, "6 classes.*target=7"),
        (_poisoning(_LARGER), ValueError, r"images \(8, 8, 1\)"),
    ],
)
def test_an_attack_on_something_else_is_refused(poisoning, error, message):
    for call in (
        lambda: _purify(poisoning=poisoning),
        lambda: _purify(oracle=poisoning),
        lambda: tfbackdoor.evaluate(
            planted.classifier(), planted.images(60), poisoning
        ),
    ):
        with pytest.raises(error, match=f"`poisoning`.*{message}") as raised:
            call()
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("defense", "settings"),
    [
        ("fine_tuning", {"epochs": 0}),
        ("fine_tuning", {"learning_rate": -1.0}),
        ("fine_tuning", {"padding": -4}),
        ("fine_tuning", {"seed": -1}),
        ("nad", {"batch_size": 0}),
        ("nad", {"teacher_epochs": 1.5}),
        ("anp", {"iterations": -1}),
        ("ft_sam", {"rho": -1.0}),
        ("i_bau", {"rounds": 0}),
        ("rnp", {"unlearning_epochs": 0}),
        ("hardening", {"steps": 0}),
        ("mode_connectivity", {"held_out": -0.1}),
    ],
)
def test_defenses_refuse_a_setting_before_any_work(defense, settings):
    (name,) = settings
    with pytest.raises(ValueError, match=f"`{name}` must be .*Received: "):
        tfbackdoor.defend(defense, planted.classifier(), "no data", **settings)


def test_scan_and_evaluate_refuse_a_setting_before_any_work():
    for settings in ({"steps": 0}, {"seed": -1}, {"precision": "half"}):
        (name,) = settings
        with pytest.raises(ValueError, match=f"`{name}` must "):
            tfbackdoor.scan(planted.classifier(), "no data", **settings)
    with pytest.raises(ValueError, match="`batch_size` must be a whole number"):
        tfbackdoor.evaluate(planted.classifier(), "no data", batch_size=0)


def test_the_defaults_of_all_methods_are_allowed():
    for defense in tfbackdoor.DEFENSES:
        setting_ranges.check(defense_settings(defense))
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    setting_ranges.check({"learning_rate": schedule, "epochs": np.int64(3)})
