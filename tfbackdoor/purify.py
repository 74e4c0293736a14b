"""One call from a suspicious classifier to a purified one and a report."""

import dataclasses
import time

import keras
import tensorflow as tf

from tfbackdoor import calibration
from tfbackdoor import classifiers
from tfbackdoor import devices
from tfbackdoor import evaluation
from tfbackdoor import purification
from tfbackdoor import rates
from tfbackdoor import report as report_module
from tfbackdoor import sampling
from tfbackdoor import sanity
from tfbackdoor import scanning
from tfbackdoor import value_range
from tfbackdoor.attacks import poisoning as poisoning_module
from tfbackdoor.defenses import attention

_LEAST_CLEAN = 20
_SAMPLES = 8


def purify(
    classifier: keras.Model,
    clean: tf.data.Dataset,
    *,
    test: tf.data.Dataset | None = None,
    poisoning: poisoning_module.Poisoning | None = None,
    oracle: poisoning_module.Poisoning | None = None,
    class_names: list[str] | None = None,
    verbose="auto",
    **settings,
) -> tuple[keras.Model, report_module.Report]:
    """Takes the backdoor out of a classifier, without knowing the trigger.

    Scans for a target class (`scan`), learns neuron masks (ANP) with a
    perturbation calibrated on the clean images, prunes as far as held-out
    clean accuracy allows, and wins accuracy back by self-distillation that
    unlearns what triggers of the suspected classes call (`recover`).

    Args:
        classifier: built Keras classifier of images in [0, 1], [0, 255] or
            [-1, 1], logits or probabilities out; it is not changed.
        clean: unbatched data set of clean `(image, label)` in [0, 1], a few
            hundred; a share of it is held out to judge.
        test: unbatched clean images that only score, or None.
        poisoning: the attack, to score by, or None where it is unknown. It
            has no say in any choice.
        oracle: the attack, to choose the threshold by; the report says so.
        class_names: a name a class, for the report.
        verbose: Keras' verbosity; 0 announces no steps either.
        **settings: fields of `PurifySettings`.

    Returns:
        The purified classifier, plain Keras, which takes images as
        `classifier` does, and the `Report`.

    Raises:
        ValueError: where the classifier, the images or a setting will not
            do, or clean accuracy is at chance.
    """
    start = time.monotonic()
    settings = purification.PurifySettings(**settings)
    settings = dataclasses.replace(
        settings, precision=settings.precision or devices.default_precision()
    )
    classifiers.check_classifier(classifier)
    clean = _checked(classifier, clean)
    if test is not None:
        classifiers.check_images(classifier, test.batch(256), name="test")
    values = value_range.find_value_range(classifier, clean)
    original = values.adapt(classifier)
    optimise, judge = sampling.split_images(
        clean, [1.0 - settings.held_out, settings.held_out], seed=settings.seed
    )
    flip, padding = calibration.choose_augmentation(
        original,
        optimise,
        flip=settings.flip,
        padding=settings.padding,
        seed=settings.seed,
    )
    settings = dataclasses.replace(settings, flip=flip, padding=padding)
    found = purification.Purification(
        original, optimise, judge, settings, verbose
    )
    purified = found.run(oracle)
    report = _report(
        found,
        purified,
        scores=_scores(found, purified, judge, poisoning),
        test_scores={}
        if test is None
        else _scores(found, purified, test, poisoning),
        clean=clean,
        class_names=class_names,
        value_range_name=values.name,
        seconds=time.monotonic() - start,
    )
    return values.restore(purified), report


def _checked(classifier, clean):
    """The clean images in memory, if they will do."""
    clean = sampling.in_memory(clean)
    classifiers.check_images(classifier, clean.batch(256))
    count = sampling.cardinality(clean)
    if count < _LEAST_CLEAN:
        raise ValueError(
            f"`clean` must hold at least {_LEAST_CLEAN} images. "
            f"Received: {count}"
        )
    return clean


def _scores(found, purified, images, poisoning):
    """From row name to scores: before, pruned if any neuron was, purified."""
    rows = {"before": found.original}
    if any(map(len, found.pruned.values())):
        rows["pruned"] = found.pruned_classifier
    rows["purified"] = purified
    return {
        name: evaluation.evaluate(row, images, poisoning)
        for name, row in rows.items()
    }


def _report(
    found,
    purified,
    *,
    scores,
    test_scores,
    clean,
    class_names,
    value_range_name,
    seconds,
):
    images, labels = next(iter(found.judge.batch(_SAMPLES)))
    rows = {"before": found.original, "purified": purified}
    return report_module.Report(
        verdict=_verdict(found, scores, test_scores),
        warnings=sanity.warnings(found.original, purified, clean, found.masks),
        scores=scores,
        scored_on=f"{sampling.cardinality(found.judge)} clean images held "
        "out from the optimisation (if the classifier was trained on them, "
        "they flatter it before)",
        test_scores=test_scores,
        curve=found.curve,
        chosen=found.chosen,
        chosen_because=found.because,
        oracle=found.oracle,
        neuron_masks=found.masks,
        pruned=found.pruned,
        unlearned=found.unlearned,
        skipped=found.skipped,
        samples=images.numpy(),
        sample_labels=labels.numpy().tolist(),
        predictions={
            name: classifiers.predicted_classes(row, images).tolist()
            for name, row in rows.items()
        },
        class_names=class_names,
        attention=_attention(rows, images),
        target_scores=_target_scores(found.scan),
        settings={
            **dataclasses.asdict(found.settings),
            "epsilon": found.scan.epsilon,
            "recovery_rate": found.recovery_rate,
            "value_range": value_range_name,
        },
        versions=report_module.versions(),
        seed=found.settings.seed,
        seconds=seconds,
        peak_memory=report_module.peak_memory(),
    )


def _verdict(found, scores, test_scores):
    said = f"The scan says: {found.scan}."
    if found.pruned_classifier is None:
        return f"{said} The classifier was left as it is."
    count = sum(map(len, found.pruned.values()))
    total = sum(map(len, found.masks.values()))
    judged, where = (
        (test_scores, "test") if test_scores else (scores, "held-out")
    )
    loss = rates.accuracy_loss(judged["before"], judged["purified"])
    unlearned = ""
    if found.unlearned:
        classes = ", ".join(map(str, found.unlearned))
        plural = "es" if len(found.unlearned) > 1 else ""
        unlearned = f", and triggers of class{plural} {classes} unlearned"
    return (
        f"{said} {count} of {total} neurons were pruned{unlearned}, at a cost "
        f"of {loss} of {where} accuracy."
    )


def _target_scores(scan):
    return {
        "verdict": str(scan),
        "scores": scan.anomalies.tolist(),
        "error_shares": scan.error_shares.tolist(),
        "suspected": scan.suspected,
        "note": "The score is the anomaly of the smallest trigger found for "
        f"the class; above {scanning.SURE_ABOVE} it speaks for a backdoor, "
        f"below {scanning.SURE_BELOW} against one. Under adversarial neuron "
        "perturbation the errors of a backdoored classifier gather in the "
        "target class. Of clean digits networks the scan called backdoored: "
        f"{scan.false_positive_rate}.",
    }


def _attention(rows, images):
    """Attention maps of the first image, none where there are no taps."""
    try:
        taps = attention.find_taps(rows["before"])
    except ValueError:
        return {}
    return {
        name: attention.attention_maps(row, images, taps)
        for name, row in rows.items()
    }
