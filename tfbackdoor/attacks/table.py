"""The attacks of both papers, each with the settings that they use it with."""

import dataclasses
from collections.abc import Callable

import keras
import tensorflow as tf

from tfbackdoor.attacks import adaptive_blend
from tfbackdoor.attacks import attack_run
from tfbackdoor.attacks import bpp
from tfbackdoor.attacks import clean_label
from tfbackdoor.attacks import input_aware
from tfbackdoor.attacks import low_frequency
from tfbackdoor.attacks import poisoned_training
from tfbackdoor.attacks import poisoning as poisoning_module
from tfbackdoor.attacks import refool
from tfbackdoor.attacks import triggers
from tfbackdoor.attacks import trojan
from tfbackdoor.attacks import wanet
from tfbackdoor.data import sampling
from tfbackdoor.data import survey
from tfbackdoor.training import run_settings

_LOOKED_AT_ONCE = 1024


@dataclasses.dataclass(frozen=True)
class Attack:
    """How a backdoored classifier is made.

    Args:
        train: function of an `AttackRun`, gives classifier and `Poisoning`.
        mode: how poisoned images are labelled, see `Poisoning`.
        rate: float in (0, 1], share of the eligible images, see `Poisoning`.
        cover_ratio: float >= 0, covers for each poisoned image.
        trigger: function from `(height, width, channels)` to a `Trigger`,
            or None where the attack makes its own.
        source: what the settings are from.
    """

    train: Callable
    mode: str = "all_to_one"
    rate: float = 0.05
    cover_ratio: float = 0.0
    trigger: Callable | None = None
    source: str = ""


def train_attacked(
    attack: str | Attack,
    build: Callable,
    train: tf.data.Dataset,
    *,
    target: int = 0,
    rate: float | None = None,
    epochs: int = 200,
    batch_size: int = 128,
    learning_rate: float = 0.1,
    weight_decay: float = 5e-4,
    schedule: str = "steps",
    flip: bool = True,
    padding: int = 4,
    seed: int = 0,
    synchronised: bool = True,
    precision: str | None = None,
    verbose="auto",
    callbacks=(),
    reflections: tf.data.Dataset | None = None,
    clean_classifier: keras.Model | None = None,
) -> tuple[keras.Model, poisoning_module.Poisoning | None]:
    """Trains a classifier with a backdoor, as the papers do it.

    Args:
        attack: a name in `ATTACKS`, `"none"` for clean training alike, or an
            `Attack` of your own, such as
            `dataclasses.replace(ATTACKS["badnets"], mode="all_to_all")`.
        build: function of `(image_shape, classes)` that gives a fresh Keras
            classifier. Call `train_attacked` in the scope of the strategy.
        train: unbatched data set of `(image, label)`, images in [0, 1].
        target: int, the attacker's class (0 in ANP, 5 in NAD).
        rate: float in (0, 1], share of the eligible images poisoned, default
            the attack's own.
        epochs, batch_size, learning_rate, weight_decay, schedule, callbacks:
            see `fit_classifier`.
        flip, padding, synchronised, precision, verbose: see `RunSettings`.
        seed: int, of every random choice.
        reflections: unbatched data set of images for `"refool"`, of any size;
            default: 5 % of `train`, at most 1,000, held out from training.
        clean_classifier: classifier of the same images trained without
            attack, which `"clean_label"` perturbs against and `"trojan"`
            starts from; it is not changed. Default: one is trained.

    Returns:
        The trained classifier, and what `evaluate` needs to score it: the
        `Poisoning`, None for `"none"`.

    Raises:
        TypeError: where `train` is of another kind.
        ValueError: where `attack` is no name in `ATTACKS`, or `train` holds
            other images or labels.
    """
    if not isinstance(attack, Attack):
        if attack not in ATTACKS:
            raise ValueError(
                f"`attack` must be one of {sorted(ATTACKS)}. "
                f"Received: {attack!r}"
            )
        attack = ATTACKS[attack]
    classes = _checked_classes(train)
    run = attack_run.AttackRun(
        build=build,
        images=train,
        image_shape=tuple(train.element_spec[0].shape),
        classes=classes,
        target=target,
        mode=attack.mode,
        rate=attack.rate if rate is None else rate,
        cover_ratio=attack.cover_ratio,
        make_trigger=attack.trigger,
        settings=run_settings.RunSettings(
            flip=flip,
            padding=padding,
            seed=seed,
            precision=precision,
            synchronised=synchronised,
            verbose=verbose,
        ),
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        schedule=schedule,
        callbacks=tuple(callbacks),
        reflections=reflections,
        clean_classifier=clean_classifier,
    )
    if attack.train is not poisoned_training.train_clean:
        run.poisoning(None)  # Settings out of range end here, not in hours.
    return attack.train(run)


def _checked_classes(train):
    """Number of classes of training images, which are looked at once."""
    if not isinstance(train, tf.data.Dataset):
        raise TypeError(
            "`train` must be a tf.data.Dataset of (image, label); see "
            f"from_arrays. Received: {type(train).__name__}"
        )
    sampling.check_finite(train, "train")
    spec = train.element_spec
    are_pairs = isinstance(spec, tuple) and len(spec) == 2
    if not (
        are_pairs
        and spec[0].shape.rank == 3
        and spec[0].dtype == tf.float32
        and spec[1].shape.rank == 0
        and spec[1].dtype.is_integer
    ):
        raise ValueError(
            "`train` must be unbatched pairs of an image, float32 in [0, 1] of "
            "shape (height, width, channels), and a whole number, as "
            f"load_images and from_arrays give them. Received: {spec}"
        )
    found = survey.survey(train.batch(_LOOKED_AT_ONCE))
    classes = found.labels[-1] + 1 if found.labels else 0
    survey.check(found, classes, name="train", several_classes=True)
    return classes


def _four_corners(image_shape):
    return triggers.checkerboard(image_shape, corners=4)


def _dithering(image_shape):
    return bpp.Dithering()  # Of any size.


# SIG keeps labels, so that we poison as much as ANP's clean-label attack does:
# 80 % of the target class, 8 % of all images of ten classes. Refool keeps them
# after a search, over many trainings, for reflections that work. As they come
# few are learnt, so that we change labels, as BackdoorBench does.
_ANP = "Wu & Wang 2021"
_NAD = "Li et al. 2021"

ATTACKS = {
    "none": Attack(poisoned_training.train_clean),
    "badnets": Attack(
        poisoned_training.train_poisoned,
        trigger=triggers.checkerboard,
        source=_ANP,
    ),
    "blend": Attack(
        poisoned_training.train_poisoned,
        trigger=triggers.noise_blend,
        source=_ANP,
    ),
    "clean_label": Attack(
        clean_label.train_clean_label,
        mode="clean_label",
        rate=0.8,
        trigger=_four_corners,
        source=_ANP,
    ),
    "sig": Attack(
        poisoned_training.train_poisoned,
        mode="clean_label",
        rate=0.8,
        trigger=triggers.sinusoid,
        source=_ANP,
    ),
    "trojan": Attack(trojan.train_trojan, rate=0.1, source=_NAD),
    "refool": Attack(refool.train_refool, rate=0.1, source=_NAD),
    "input_aware": Attack(input_aware.train_input_aware, rate=0.1, source=_ANP),
    "input_aware_all": Attack(
        input_aware.train_input_aware, mode="all_to_all", rate=0.1, source=_ANP
    ),
    "wanet": Attack(
        poisoned_training.train_poisoned,
        rate=0.1,
        cover_ratio=2.0,
        trigger=wanet.make_warp,
        source="Nguyen & Tran 2021",
    ),
    "bpp": Attack(
        poisoned_training.train_poisoned,
        rate=0.1,
        cover_ratio=1.0,
        trigger=_dithering,
        source="Wang et al. 2022",
    ),
    "lf": Attack(
        low_frequency.train_low_frequency, rate=0.1, source="Zeng et al. 2021"
    ),
    "adaptive_blend": Attack(
        poisoned_training.train_poisoned,
        rate=0.003,
        cover_ratio=1.0,
        trigger=adaptive_blend.masked_noise,
        source="Qi et al. 2023",
    ),
}
ATTACKS |= {
    f"{name}_all_to_all": dataclasses.replace(
        ATTACKS[name], mode="all_to_all", rate=0.1, source="Gu et al. 2017"
    )
    for name in ("badnets", "blend", "sig")
}
ATTACKS |= {
    f"{name}_clean_label": dataclasses.replace(
        ATTACKS[name], mode="clean_label", rate=0.8, source="as clean_label"
    )
    for name in ("badnets", "blend", "refool")
}
