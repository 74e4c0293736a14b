"""Every defense with its paper's settings, behind one call."""

import dataclasses
import inspect
import warnings
from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor import errors
from tfbackdoor.data import sampling
from tfbackdoor.data import tracks as tracks_module
from tfbackdoor.defenses import anp
from tfbackdoor.defenses import fine_pruning
from tfbackdoor.defenses import fine_tuning
from tfbackdoor.defenses import harden
from tfbackdoor.defenses import i_bau
from tfbackdoor.defenses import mode_connectivity
from tfbackdoor.defenses import nad
from tfbackdoor.defenses import outcome_warnings
from tfbackdoor.defenses import result
from tfbackdoor.defenses import rnp
from tfbackdoor.defenses import sharpness_aware
from tfbackdoor.network import devices
from tfbackdoor.network import door
from tfbackdoor.network import public_call
from tfbackdoor.purify import purify
from tfbackdoor.training import run_settings
from tfbackdoor.training import setting_ranges

_ATTACK_ARGUMENTS = ("test", "poisoning", "oracle", "retune", "class_names")


def by_purify(classifier, clean, run, **settings) -> result.DefenseResult:
    """`purify`, with its settings.

    Args:
        classifier: see `defend`.
        clean: see `defend`.
        run: the other arguments of `defend`.
        **settings: keyword arguments of `purify`, but for those that tell it
            the attack.
    """
    purified, report = purify(
        classifier,
        clean,
        tracks=run.tracks,
        flip=run.flip,
        padding=run.padding,
        seed=run.seed,
        precision=run.precision,
        train_frozen=run.train_frozen,
        verbose=run.verbose,
        **settings,
    )
    return result.DefenseResult(
        {"purified": purified},
        {"verdict": report.verdict, "hardening": report.hardening},
        {"report": report},
        report.warnings,
    )


DEFENSES = {
    "fine_tuning": fine_tuning.by_fine_tuning,
    "fine_pruning": fine_pruning.by_fine_pruning,
    "mode_connectivity": mode_connectivity.by_mode_connectivity,
    "nad": nad.by_nad,
    "anp": anp.by_anp,
    "ft_sam": sharpness_aware.by_ft_sam,
    "hardening": harden.by_hardening,
    "i_bau": i_bau.by_i_bau,
    "rnp": rnp.by_rnp,
    "purify": by_purify,
}


@public_call.public_call
def defend(
    defense: str,
    classifier: keras.Model,
    clean: tf.data.Dataset,
    *,
    tracks: np.ndarray | None = None,
    flip: bool = True,
    padding: int = 4,
    seed: int = 0,
    precision: str | None = None,
    synchronised: bool = True,
    train_frozen: bool = True,
    preprocess=None,
    output: str | None = None,
    verbose="auto",
    **settings,
) -> result.DefenseResult:
    """Purifies a copy of a classifier by a defense of the papers.

    What a defense has to choose it chooses on clean images that it holds out
    from those given. No defense sees the attack.

    Args:
        defense: a key of `DEFENSES`: `"fine_tuning"`, `"fine_pruning"`,
            `"mode_connectivity"`, `"nad"`, `"anp"`, `"ft_sam"`, `"i_bau"`,
            `"rnp"`, `"hardening"` or `"purify"`.
        classifier: built Keras classifier; it is not changed.
        clean: clean images and labels in any form of `labelled_images`, uint8
            or float in [0, 1].
        tracks: see `purify`.
        flip: bool, whether clean images are mirrored; digits and traffic
            signs must not be.
        padding: int >= 0, pixels of the random crop (4 in both papers).
        seed: int, of every draw.
        precision: `"float32"`, `"mixed_bfloat16"`, or None for the
            classifier's own.
        synchronised, train_frozen: bool, see `ClassifierTraining`.
        preprocess, output: see `purify`.
        verbose: Keras' verbosity.
        **settings: of the defense, see `defense_settings`, such as `epochs`.

    Returns:
        The purified `.classifier`, which takes and gives what `classifier`
        does, with the steps in between and what was chosen. Its `.warnings`
        say what looks odd about it, such as accuracy that was lost on the
        clean images; they are raised as one Python warning too.

    Warns:
        DefenseWarning: where there are `.warnings`.

    Raises:
        ValueError: on an unknown defense, with the valid names, or where the
            classifier or the images will not do.
        TypeError: on a setting that the defense does not have.

    Example:
        purified = defend("nad", classifier, clean, epochs=20).classifier
    """
    check_defense(defense, settings)
    setting_ranges.check({**settings, "padding": padding, "seed": seed})
    devices.check_precision(precision)
    admitted = door.admit(
        classifier,
        clean,
        output=output,
        preprocess=preprocess,
        differentiable=True,
        copyable=True,
    )
    run = run_settings.RunSettings(
        flip=flip,
        padding=padding,
        seed=seed,
        precision=precision,
        synchronised=synchronised,
        train_frozen=train_frozen,
        verbose=verbose,
        tracks=tracks_module.check(
            tracks, sampling.cardinality(admitted.images)
        ),
    )
    # Classifiers among the settings, such as a teacher, are its owner's too.
    models = {
        name: (model, admitted.admit_alike(model))
        for name, model in settings.items()
        if isinstance(model, keras.Model)
    }
    settings |= {name: adapted for name, (_, adapted) in models.items()}
    outcome = DEFENSES[defense](
        admitted.classifier, admitted.images, run, **settings
    )
    outcome = _with_warnings(
        outcome, defense, admitted.classifier, admitted.images
    )
    given = {id(adapted): model for model, adapted in models.values()}
    return dataclasses.replace(
        outcome,
        stages={
            name: given.get(id(stage)) or admitted.restore(stage)
            for name, stage in outcome.stages.items()
        },
        found={**outcome.found, "value_range": admitted.values.name},
    )


def defense_settings(defense: str) -> dict[str, object]:
    """The settings of a defense that `defend` takes, with their defaults.

    Raises:
        ValueError: on an unknown defense, with the valid names.
    """
    if defense not in DEFENSES:
        raise ValueError(
            f"`defense` must be one of {sorted(DEFENSES)}. "
            f"Received: {defense!r}"
        )
    row = purify if defense == "purify" else DEFENSES[defense]
    of_defend = inspect.signature(defend).parameters
    return {
        parameter.name: parameter.default
        for parameter in inspect.signature(row).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
        and parameter.name not in {*of_defend, *_ATTACK_ARGUMENTS}
    }


def check_defense(defense: str, settings: Iterable[str] = ()) -> None:
    """Raises, with the valid names, where `defend` would not take these.

    Args:
        defense: should be a key of `DEFENSES`.
        settings: names that should be settings of it.

    Raises:
        ValueError: on an unknown defense.
        TypeError: on a setting that the defense does not have.
    """
    known = list(defense_settings(defense))
    if unknown := [name for name in settings if name not in known]:
        raise TypeError(
            f"`settings` of {defense} must be some of {known}. "
            f"Received: {unknown}"
        )


def _with_warnings(outcome, defense, classifier, clean):
    """The outcome with what looks odd about it, raised as a warning too."""
    if outcome.warnings is None:
        odd = outcome_warnings.outcome_warnings(
            classifier,
            outcome.classifier,
            clean,
            outcome.found.get("masks", {}),
        )
        outcome = dataclasses.replace(outcome, warnings=odd)
    if outcome.warnings:
        warnings.warn(
            f"{defense}: {' '.join(outcome.warnings)}",
            outcome_warnings.DefenseWarning,
            stacklevel=errors.users_level(),
        )
    return outcome
