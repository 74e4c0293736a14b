"""One call from a suspicious classifier to a purified one and a report."""

import dataclasses
import time

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor import purify_steps
from tfbackdoor.attacks import poisoning as poisoning_module
from tfbackdoor.data import augmentation
from tfbackdoor.data import sampling
from tfbackdoor.data import tracks as tracks_module
from tfbackdoor.defenses import calibration
from tfbackdoor.defenses import harden
from tfbackdoor.network import classifiers
from tfbackdoor.network import copying
from tfbackdoor.network import devices
from tfbackdoor.network import door
from tfbackdoor.network import public_call
from tfbackdoor.report import purification
from tfbackdoor.report import report as report_module
from tfbackdoor.scan import scan
from tfbackdoor.training import run_settings
from tfbackdoor.training import setting_ranges

_LEAST_CLEAN = 20
_MOST_HARDENED = {"backdoored": 1.0, "suspicious": 0.5, "nothing found": 0.5}
_NOT_SETTINGS = (
    "classifier",
    "clean",
    "tracks",
    "test",
    "poisoning",
    "oracle",
    "preprocess",
)


# Settled while looking at attack success, see docs/lab/results.md: the defaults
# of unlearning ("`purify` on backdoored classifiers") and of hardening
# ("Hardening").
@public_call.public_call
def purify(
    classifier: keras.Model,
    clean: tf.data.Dataset,
    *,
    tracks: np.ndarray | None = None,
    test: tf.data.Dataset | None = None,
    poisoning: poisoning_module.Poisoning | None = None,
    oracle: poisoning_module.Poisoning | None = None,
    retune: bool = False,
    class_names: list[str] | None = None,
    preprocess=None,
    output: str | None = None,
    held_out: float = 0.2,
    max_accuracy_drop: float = 0.02,
    only_if_found: bool = False,
    scan_steps: int = 150,
    prune: bool = False,
    epsilon: float | None = None,
    alpha: float = 0.2,
    iterations: int = 300,
    mask_rate: float = 0.2,
    threshold: float | None = None,
    hardening_steps: int = 100,
    hardening_rate: float = 0.03,
    max_strength: float | None = None,
    recovery_steps: int = 500,
    recovery_rate: float = 3e-4,
    max_share: float = 0.03,
    max_opacity: float = 0.2,
    mixup: float = 0.5,
    padding: int | None = None,
    flip: bool | None = None,
    seed: int = 0,
    precision: str | None = None,
    train_frozen: bool = True,
    verbose="auto",
    always: bool | None = None,
) -> tuple[keras.Model, report_module.Report]:
    """Takes the backdoor out of a classifier, without knowing the trigger.

    Scans for a target class (`scan`), hardens the classifier against what
    triggers are made of, whatever the scan says (`harden_within`), and unlearns
    the triggers of the suspected classes (`self_distill`); where it finds
    nothing that of the most suspicious class, if it is small.

    Args:
        classifier: built Keras classifier, logits or probabilities out; it is
            not changed. Whatever range of pixels it takes, see `preprocess`.
        clean: clean images and labels in any form of `labelled_images`, uint8
            or float in [0, 1], a few hundred; a share of it is held out to
            judge.
        tracks: which clean images show the same thing, such as frames of one
            video, one name an image, as `image_tracks` gives them: no part of
            them then judges what another has seen of it. None where all
            differ.
        test: clean images that only score, in any such form, or None.
        poisoning: the attack, to score by, or None where it is unknown. It
            has no say in any choice.
        oracle: the attack, to choose the threshold by; the report says so.
        retune: bool, whether a copy of the purified classifier that suffered
            the retuning attack of `poisoning` is scored too, see
            `attacks.retune`.
        class_names: one name per class, for the report.
        preprocess: what is done to images in [0, 1] before the classifier, a
            function or a name such as `"[0, 255]"`; default what
            `find_value_range` finds.
        output: name of the output that gives the class scores, where the
            classifier has several.
        held_out: float in (0, 1), share of the clean images that judges.
        max_accuracy_drop: float in [0, 1], clean accuracy that hardening may
            cost in a cross-validation on the clean images, and pruning, with
            95 % confidence, on the held-out ones.
        only_if_found: bool, whether a classifier in which the scan finds
            nothing is left as it is.
        scan_steps: int > 0, batches of the scan.
        prune: bool, whether neurons are pruned by ANP first; also where
            `threshold` or `oracle` is given. It finds nothing that the other
            steps miss, see docs/RESULTS.md.
        epsilon: float, ANP's perturbation; default by `choose_epsilon`.
        alpha: float in [0, 1], weight of ANP's clean loss.
        iterations: int > 0, batches of ANP.
        mask_rate: float > 0, ANP's learning rate.
        threshold: float in [0, 1], pruning threshold in place of a choice.
        hardening_steps: int >= 0, batches of hardening, 0 for none.
        hardening_rate: float > 0, its learning rate by SGD, which falls to 0;
            a tenth of it, then a hundredth, where that costs too much.
        max_strength: float in (0, 1], of hardening, how much of the way to
            what was hardened may be gone; default all where the scan says
            "backdoored", else half, beyond which clean classifiers lose more.
        recovery_steps: int >= 0, batches of unlearning, 0 for none; an eighth
            of them where no trigger that was found works after hardening.
        recovery_rate: float > 0, learning rate of unlearning by Adam, which
            falls to 0; a tenth of it, then a hundredth, where that costs over
            10 points of held-out accuracy.
        max_share: float in (0, 1], pixels of the patches that are unlearned.
        max_opacity: float in [0, 1], of the blends over all pixels that are
            unlearned where no patch of that share turns images to a suspect,
            0 for none.
        mixup: float in [0, 1], of the images that unlearn.
        padding: int >= 0, pixels of the random crop of clean images; default
            an eighth of their height, or less if the classifier tolerates
            less.
        flip: bool, whether clean images are mirrored; default where the
            classifier tolerates it: digits and traffic signs must not be.
        seed: int, of every random choice.
        precision: `"float32"` or `"mixed_bfloat16"`, default the device's.
        train_frozen: bool, whether layers are trained that are not
            `trainable`, see `ClassifierTraining`.
        verbose: Keras' verbosity; 0 announces no steps either.
        always: the former name of `not only_if_found`; do not use it.

    Returns:
        The purified classifier, plain Keras, which takes images as
        `classifier` does, and the `Report`.

    Raises:
        ValueError: where the classifier, the images or a setting will not
            do, or clean accuracy is at chance.
    """
    settings = {
        name: value
        for name, value in locals().items()
        if name not in _NOT_SETTINGS
    }
    start = time.monotonic()
    setting_ranges.check(settings)
    devices.check_precision(precision)
    admitted = door.admit(
        classifier,
        clean,
        output=output,
        preprocess=preprocess,
        above_chance=True,
        differentiable=True,
        copyable=True,
    )
    original, clean = admitted.classifier, admitted.images
    _check(original, clean, (poisoning, oracle), retune)
    augmentation.check_padding(padding or 0, clean.element_spec[0].shape[:2])
    class_names = _names(class_names, classifiers.class_count(original))
    if test is not None:
        test = admitted.more(test)
    run = run_settings.RunSettings(
        seed=seed,
        precision=precision or devices.default_precision(),
        train_frozen=train_frozen,
        verbose=verbose,
        tracks=tracks_module.check(tracks, sampling.cardinality(clean)),
    )
    optimise, judge, run = run.hold_out(clean, held_out)
    run.folds(optimise, harden.FOLDS)  # Too few tracks end here, not later.
    flip, padding = calibration.choose_augmentation(
        original, optimise, flip=flip, padding=padding, seed=seed
    )
    run = dataclasses.replace(run, flip=flip, padding=padding)

    run.announce("Scanning for a backdoor")
    found = scan(
        original,
        optimise,
        steps=scan_steps,
        epsilon=epsilon,
        seed=seed,
        precision=run.precision,
        verbose=verbose,
    )
    if always is not None:
        only_if_found = not always
    changes = found.verdict != "nothing found" or not only_if_found
    purified, pruning, hardened = original, purify_steps.Pruning(), None
    if changes and (prune or threshold is not None or oracle is not None):
        pruning = purify_steps.prune(
            original,
            optimise,
            judge,
            run,
            threshold=threshold,
            max_accuracy_drop=max_accuracy_drop,
            oracle=oracle,
            epsilon=found.epsilon,
            alpha=alpha,
            iterations=iterations,
            learning_rate=mask_rate,
        )
        purified = pruning.pruned.classifier
    if changes and hardening_steps:
        run.announce("Hardening against what triggers are made of")
        hardened = harden.harden_within(
            purified,
            optimise,
            run,
            teacher=original,
            pruned=pruning.neurons,
            max_accuracy_drop=max_accuracy_drop,
            max_strength=max_strength or _MOST_HARDENED[found.verdict],
            steps=hardening_steps,
            learning_rate=hardening_rate,
        )
        purified = hardened.classifier
    unlearned = purify_steps.unlearn(
        found,
        purified,
        original,
        optimise,
        judge,
        run,
        neurons=pruning.neurons,
        steps=recovery_steps if changes else 0,
        learning_rate=recovery_rate,
        max_share=max_share,
        max_opacity=max_opacity,
        mixup=mixup,
    )
    purified = unlearned.classifier
    if purified is original:
        purified = copying.copy_classifier(original)
    retuned = None
    if retune:
        retuned = purify_steps.retune(purified, optimise, poisoning, run)

    run.announce("Scoring the classifier before and after")
    report = purification.report_on(
        purification.Purification(
            original=original,
            purified=purified,
            scan=found,
            pruning=pruning,
            hardened=hardened,
            unlearned=unlearned,
            retuned=retuned,
            threshold=threshold,
        ),
        clean=clean,
        judge=judge,
        test=test,
        poisoning=poisoning,
        oracle=oracle is not None,
        class_names=class_names,
        settings={
            **settings,
            "tracks": None if tracks is None else len(np.unique(tracks)),
            "flip": flip,
            "padding": padding,
            "precision": run.precision,
            "epsilon": found.epsilon,
            "hardening_rate": hardened and hardened.learning_rate,
            "hardening_share": hardened and hardened.share,
            "recovery_rate": unlearned.recovery
            and unlearned.recovery.learning_rate,
        },
        values=admitted.values,
        run=run,
        start=start,
    )
    return admitted.restore(purified), report


def _check(classifier, clean, attacks, retune):
    """Raises ValueError where what was given does not go together."""
    count = sampling.cardinality(clean)
    if count < _LEAST_CLEAN:
        raise ValueError(
            f"`clean` must hold at least {_LEAST_CLEAN} images. "
            f"Received: {count}"
        )
    for attack in attacks:
        poisoning_module.check(attack, classifier)
    if retune and attacks[0] is None:
        raise ValueError(
            "`retune` must be False where `poisoning` does not say which "
            "attack. Received: retune=True, poisoning=None"
        )


def _names(class_names, classes):
    """The names as a list, or None; ValueError unless each class has one."""
    if class_names is None:
        return None
    names = class_names
    if isinstance(names, (list, tuple, np.ndarray)):
        names = [str(x) if isinstance(x, str) else None for x in names]
    if not isinstance(names, list) or len(names) != classes or None in names:
        raise ValueError(
            f"`class_names` must be a list of {classes} names, one per class. "
            f"Received: {class_names!r}"
        )
    return names
