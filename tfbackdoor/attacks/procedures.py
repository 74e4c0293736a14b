"""What each attack does to make a backdoored classifier."""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor.attacks import adversarial
from tfbackdoor.attacks import dynamic_masks
from tfbackdoor.attacks import generators
from tfbackdoor.attacks import input_aware
from tfbackdoor.attacks import poisoning as poisoning_module
from tfbackdoor.attacks import reflection_search
from tfbackdoor.attacks import refool
from tfbackdoor.attacks import trojan
from tfbackdoor.data import sampling
from tfbackdoor.training import fit_settings

_TROJAN_IMAGES = 64
_RETRAINING_SHARE = 0.5
_MOST_CANDIDATES, _HELD_OUT_SHARE, _CHOSEN_SHARE = 1000, 0.05, 0.2
_SEARCH_IMAGES, _SEARCH_SHARE = 100, 0.25
_MASK_SHARE, _MOST_MASK_BATCHES = 0.25, 1000
_PATTERN_RATE = 1e-4


@dataclasses.dataclass(frozen=True)
class Job:
    """One call of `train_attacked`.

    Args:
        build: function of `(image_shape, classes)` that gives a classifier.
        images: unbatched training set of `(image, label)`.
        image_shape: `(height, width, channels)`.
        classes, target, mode, rate: see `Poisoning`.
        make_trigger: function from the image shape to a `Trigger`, or None.
        settings: how the classifier is trained.
        reflections: images for Refool, or None.
        clean_classifier: one trained without attack, or None.
    """

    build: Callable
    images: tf.data.Dataset
    image_shape: tuple[int, int, int]
    classes: int
    target: int
    mode: str
    rate: float
    make_trigger: Callable | None
    settings: fit_settings.FitSettings
    reflections: tf.data.Dataset | None
    clean_classifier: keras.Model | None

    def poisoning(self, trigger):
        return poisoning_module.Poisoning(
            trigger,
            classes=self.classes,
            target=self.target,
            mode=self.mode,
            rate=self.rate,
            seed=self.settings.seed,
        )

    def train_fresh(self, images, settings=None):
        classifier = self.build(self.image_shape, self.classes)
        return fit_settings.fit_classifier(
            classifier, images, settings or self.settings
        )

    def clean(self):
        """A classifier trained without attack."""
        if self.clean_classifier is not None:
            return self.clean_classifier
        return self.train_fresh(self.images)


def train_clean(job):
    return job.train_fresh(job.images), None


def train_poisoned(job):
    """Training on images stamped with a fixed trigger."""
    trigger = job.make_trigger(job.image_shape)
    poisoned, poisoning = poisoning_module.poison(
        job.images, job.poisoning(trigger)
    )
    return job.train_fresh(poisoned), poisoning


def train_perturbed(job):
    """The same, on images that were moved away from their label before."""
    trigger = job.make_trigger(job.image_shape)
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


def train_trojan(job):
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
        job.settings.shortened(_RETRAINING_SHARE),
        learning_rate=job.settings.learning_rate / 10,
    )
    fit_settings.fit_classifier(classifier, poisoned, retraining)
    return classifier, poisoning


def train_refool(job):
    """Training on images with the reflections that work of many candidates."""
    kept, candidates = _candidate_reflections(job)
    images = sampling.select(job.images, kept)
    trigger = _search_reflections(job, images, candidates)
    poisoned, poisoning = poisoning_module.poison(
        images, job.poisoning(trigger)
    )
    poisoning = dataclasses.replace(poisoning, indices=kept[poisoning.indices])
    return job.train_fresh(poisoned), poisoning


def _candidate_reflections(job):
    """Positions of the images to train on; reflections of others or given."""
    total = sampling.cardinality(job.images)
    kept = np.arange(total)
    reflected, seed = job.reflections, job.settings.seed
    if reflected is None:
        count = min(_MOST_CANDIDATES, max(1, round(_HELD_OUT_SHARE * total)))
        held_out = np.sort(
            np.random.default_rng(seed).choice(total, count, replace=False)
        )
        kept = np.setdiff1d(kept, held_out)
        reflected = sampling.select(job.images, held_out)
    return kept, refool.make_reflections(
        reflected, job.image_shape, count=_MOST_CANDIDATES, seed=seed
    )


def _search_reflections(job, images, candidates):
    """The candidates that a short training with all of them learns best."""
    poisoned, poisoning = poisoning_module.poison(
        images, job.poisoning(candidates)
    )
    settings = job.settings.shortened(_SEARCH_SHARE)
    classifier = job.train_fresh(poisoned, settings)
    free = sampling.labels_of(images) != job.target
    free[poisoning.indices] = False
    free = np.flatnonzero(free)
    judged = np.random.default_rng(settings.seed).choice(
        free, min(_SEARCH_IMAGES, len(free)), replace=False
    )
    batch = sampling.select(images, judged).batch(_SEARCH_IMAGES)
    count = max(1, round(_CHOSEN_SHARE * len(candidates.alphas)))
    return reflection_search.choose_reflections(
        candidates,
        classifier,
        next(iter(batch))[0],
        count=count,
        target=job.target,
        precision=settings.precision,
    )


def train_input_aware(job):
    """Training of a classifier and of the generator of its triggers."""
    settings = job.settings
    batches = settings.batches(job.images)
    masks = generators.mask_generator(job.image_shape)
    model = input_aware.InputAwareTraining(
        job.build(job.image_shape, job.classes),
        generators.pattern_generator(job.image_shape),
        masks,
        classes=job.classes,
        target=job.target,
        mode=job.mode,
        backdoor_rate=job.rate,
        precision=settings.precision,
    )
    mask_training = dynamic_masks.MaskTraining(
        masks, precision=settings.precision
    )
    mask_epochs = settings.shortened(_MASK_SHARE).epochs
    mask_batches = batches.repeat(mask_epochs).take(_MOST_MASK_BATCHES)
    mask_training.compile(
        dynamic_masks.generator_adam(
            dynamic_masks.mask_schedule(len(mask_batches))
        )
    )
    mask_training.fit(mask_batches, verbose=settings.verbose)
    steps = len(batches) * settings.epochs
    model.compile(
        settings.optimizer(steps),
        # As in the authors' code the generator slows down with the classifier.
        generator_optimizer=dynamic_masks.generator_adam(
            settings.decayed(_PATTERN_RATE, steps)
        ),
    )
    fit_settings.fit(model, batches, settings)
    return model.classifier, dataclasses.replace(
        model.poisoning, seed=settings.seed
    )
