"""The attacks of both papers, each with the settings that they use it with."""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor import fitting
from tfbackdoor import sampling
from tfbackdoor.attacks import adversarial
from tfbackdoor.attacks import generators
from tfbackdoor.attacks import input_aware
from tfbackdoor.attacks import poisoning as poisoning_module
from tfbackdoor.attacks import refool
from tfbackdoor.attacks import triggers
from tfbackdoor.attacks import trojan

_TROJAN_IMAGES = 64
_RETRAINING_SHARE = 0.25
_HELD_OUT_SHARE = 0.05
_MASK_SHARE, _MOST_MASK_EPOCHS, _LEAST_MASK_STEPS = 1 / 8, 25, 200


@dataclasses.dataclass(frozen=True)
class Attack:
    """How a backdoored classifier is made.

    Args:
        train: function of a `_Job`, gives classifier and `Poisoning`.
        mode: how poisoned images are labelled, see `Poisoning`.
        rate: float in (0, 1], share of the eligible images, see `Poisoning`.
        trigger: function from `(height, width, channels)` to a `Trigger`,
            or None where the attack makes its own.
        source: what the settings are from.
    """

    train: Callable
    mode: str = "all_to_one"
    rate: float = 0.05
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
        epochs, batch_size, learning_rate, weight_decay, schedule, flip,
            padding, precision, verbose, callbacks: see `FitSettings`.
        seed: int, of every random choice.
        reflections: unbatched data set of images for `"refool"`, of any size;
            default: 5 % of `train`, at most 200, held out from training.
        clean_classifier: classifier of the same images trained without
            attack, which `"clean_label"` perturbs against and `"trojan"`
            starts from; it is not changed. Default: one is trained.

    Returns:
        The trained classifier, and what `evaluate` needs to score it: the
        `Poisoning`, None for `"none"`.

    Raises:
        ValueError: where `attack` is no name in `ATTACKS`.
    """
    if not isinstance(attack, Attack):
        if attack not in ATTACKS:
            raise ValueError(
                f"`attack` must be one of {sorted(ATTACKS)}. "
                f"Received: {attack!r}"
            )
        attack = ATTACKS[attack]
    settings = fitting.FitSettings(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        schedule=schedule,
        flip=flip,
        padding=padding,
        seed=seed,
        precision=precision,
        verbose=verbose,
        callbacks=tuple(callbacks),
    )
    job = _Job(
        attack=attack,
        build=build,
        images=train,
        image_shape=tuple(train.element_spec[0].shape),
        classes=sampling.count_classes(train),
        target=target,
        rate=attack.rate if rate is None else rate,
        settings=settings,
        reflections=reflections,
        clean_classifier=clean_classifier,
    )
    return attack.train(job)


@dataclasses.dataclass(frozen=True)
class _Job:
    """One call of `train_attacked`."""

    attack: Attack
    build: Callable
    images: tf.data.Dataset
    image_shape: tuple[int, int, int]
    classes: int
    target: int
    rate: float
    settings: fitting.FitSettings
    reflections: tf.data.Dataset | None
    clean_classifier: keras.Model | None

    def poisoning(self, trigger):
        return poisoning_module.Poisoning(
            trigger,
            classes=self.classes,
            target=self.target,
            mode=self.attack.mode,
            rate=self.rate,
            seed=self.settings.seed,
        )

    def train_fresh(self, images):
        classifier = self.build(self.image_shape, self.classes)
        return fitting.fit_classifier(classifier, images, self.settings)

    def clean(self):
        """A classifier trained without attack."""
        if self.clean_classifier is not None:
            return self.clean_classifier
        return self.train_fresh(self.images)


def _train_clean(job):
    return job.train_fresh(job.images), None


def _train_poisoned(job):
    """Training on images stamped with a fixed trigger."""
    trigger = job.attack.trigger(job.image_shape)
    poisoned, poisoning = poisoning_module.poison(
        job.images, job.poisoning(trigger)
    )
    return job.train_fresh(poisoned), poisoning


def _train_perturbed(job):
    """The same, on images that were moved away from their label before."""
    trigger = job.attack.trigger(job.image_shape)
    planned = job.poisoning(trigger)
    _, poisoning = poisoning_module.poison(job.images, planned)
    perturbed = adversarial.perturb_images(
        job.images,
        poisoning.indices,
        adversarial.LinfPerturbation(
            job.clean(), precision=job.settings.precision
        ),
        seed=job.settings.seed,
    )
    # The same labels and seed: the same images as were perturbed.
    poisoned, poisoning = poisoning_module.poison(perturbed, planned)
    return job.train_fresh(poisoned), poisoning


def _train_trojan(job):
    """Retraining of a clean classifier on a trigger made from its neurons."""
    clean = job.clean()
    classifier = job.build(job.image_shape, job.classes)
    classifier.set_weights(clean.get_weights())
    batch = next(iter(job.images.batch(_TROJAN_IMAGES)))
    trigger = trojan.make_trojan_trigger(
        clean,
        batch[0],
        seed=job.settings.seed,
        precision=job.settings.precision,
    )
    poisoned, poisoning = poisoning_module.poison(
        job.images, job.poisoning(trigger)
    )
    retraining = dataclasses.replace(
        job.settings,
        epochs=max(1, round(_RETRAINING_SHARE * job.settings.epochs)),
        learning_rate=job.settings.learning_rate / 10,
    )
    fitting.fit_classifier(classifier, poisoned, retraining)
    return classifier, poisoning


def _train_refool(job):
    """Training on images with reflections of others, held out or given."""
    total = sampling.cardinality(job.images)
    kept = np.arange(total)
    reflected, seed = job.reflections, job.settings.seed
    if reflected is None:
        count = min(200, max(1, round(_HELD_OUT_SHARE * total)))
        held_out = np.sort(
            np.random.default_rng(seed).choice(total, count, replace=False)
        )
        kept = np.setdiff1d(kept, held_out)
        reflected = sampling.select(job.images, held_out)
    trigger = refool.make_reflections(reflected, job.image_shape, seed=seed)
    poisoned, poisoning = poisoning_module.poison(
        sampling.select(job.images, kept), job.poisoning(trigger)
    )
    poisoning = dataclasses.replace(poisoning, indices=kept[poisoning.indices])
    return job.train_fresh(poisoned), poisoning


def _train_input_aware(job):
    """Training of a classifier and of the generator of its triggers."""
    settings = job.settings
    batches = settings.batches(job.images)
    masks = generators.mask_generator(job.image_shape)
    mask_training = input_aware.MaskTraining(
        masks, precision=settings.precision
    )
    mask_training.compile()
    mask_epochs = min(_MOST_MASK_EPOCHS, _MASK_SHARE * settings.epochs)
    mask_training.fit(
        batches.repeat(),
        steps_per_epoch=max(
            _LEAST_MASK_STEPS, round(mask_epochs * len(batches))
        ),
        verbose=settings.verbose,
    )
    model = input_aware.InputAwareTraining(
        job.build(job.image_shape, job.classes),
        generators.pattern_generator(job.image_shape),
        masks,
        classes=job.classes,
        target=job.target,
        mode=job.attack.mode,
        backdoor_rate=job.rate,
        precision=settings.precision,
    )
    model.compile(settings.optimizer(len(batches) * settings.epochs))
    fitting.fit(model, batches, settings)
    return model.classifier, dataclasses.replace(
        model.poisoning, seed=settings.seed
    )


def _four_corners(image_shape):
    return triggers.checkerboard(image_shape, corners=4)


_ANP = "Wu & Wang 2021"
_NAD = "Li et al. 2021"

ATTACKS = {
    "none": Attack(_train_clean),
    "badnets": Attack(
        _train_poisoned, trigger=triggers.checkerboard, source=_ANP
    ),
    "blend": Attack(_train_poisoned, trigger=triggers.noise_blend, source=_ANP),
    "clean_label": Attack(
        _train_perturbed, "clean_label", 0.8, _four_corners, source=_ANP
    ),
    "sig": Attack(
        _train_poisoned, "clean_label", 0.8, triggers.sinusoid, source=_ANP
    ),
    "trojan": Attack(_train_trojan, rate=0.1, source=_NAD),
    # 8 % of all images of ten classes are 80 % of one class.
    "refool": Attack(_train_refool, "clean_label", 0.8, source=_NAD),
    "input_aware": Attack(_train_input_aware, rate=0.1, source=_ANP),
    "input_aware_all": Attack(
        _train_input_aware, "all_to_all", 0.1, source=_ANP
    ),
}
_FIXED = ("badnets", "blend", "sig")
ATTACKS |= {
    f"{name}_all_to_all": dataclasses.replace(
        ATTACKS[name], mode="all_to_all", rate=0.1, source="Gu et al. 2017"
    )
    for name in _FIXED
}
ATTACKS |= {
    f"{name}_clean_label": dataclasses.replace(
        ATTACKS[name], mode="clean_label", rate=0.8, source="as clean_label"
    )
    for name in _FIXED[:2]
}
