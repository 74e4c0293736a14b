"""One call from a suspicious classifier to a purified one and a report."""

import dataclasses
import time

import keras
import tensorflow as tf

from tfbackdoor import augmentation
from tfbackdoor import calibration
from tfbackdoor import classifiers
from tfbackdoor import devices
from tfbackdoor import evaluation
from tfbackdoor import report as report_module
from tfbackdoor import sampling
from tfbackdoor import sanity
from tfbackdoor import scanning
from tfbackdoor import training
from tfbackdoor import value_range
from tfbackdoor.attacks import poisoning as poisoning_module
from tfbackdoor.defenses import anp as anp_module
from tfbackdoor.defenses import attention
from tfbackdoor.defenses import distillation
from tfbackdoor.defenses import fine_tuning
from tfbackdoor.defenses import pruning

_LEAST_CLEAN = 20
_DROP_OF_VERDICT = {"backdoored": 0.01, "not sure": 0.15, "clean": 0.01}
_ANP_BATCH, _RECOVERY_BATCH = 128, 64
_SAMPLES = 8
_BREAKDOWN = 0.1
_GENTLE_RATES = (1e-3, 1e-4, 1e-5)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What `purify` may be told; each default needs no tuning.

    Args:
        held_out: float in (0, 1), share of the clean images that judges.
        max_accuracy_drop: float in [0, 1], what pruning may cost on the
            held-out images, with 95 % confidence; default 0.15 where the
            scan is not sure, else 0.01.
        always: bool, whether a classifier that the scan finds clean is
            purified too.
        scan_steps: int > 0, batches of the scan.
        epsilon: float, ANP's perturbation; default by `choose_epsilon`.
        alpha: float in [0, 1], weight of ANP's clean loss.
        iterations: int > 0, batches of ANP.
        mask_rate: float > 0, ANP's learning rate.
        threshold: float in [0, 1], pruning threshold in place of a choice.
        recovery_steps: int >= 0, batches of recovery, 0 for none.
        recovery_rate: float > 0, learning rate of recovery by SGD; where that
            costs over 10 points of held-out accuracy, Adam takes its place.
        max_share: float in (0, 1], pixels of the triggers that are unlearned.
        mixup: float in [0, 1], of the recovery.
        padding: int >= 0, pixels of the random crop of clean images; default
            an eighth of their height, or less if the classifier bears less.
        flip: bool, whether clean images are mirrored; default where the
            classifier bears it: digits and traffic signs must not be.
        seed: int, of every random choice.
        precision: `"float32"` or `"mixed_bfloat16"`, default the device's.
    """

    held_out: float = 0.2
    max_accuracy_drop: float | None = None
    always: bool = False
    scan_steps: int = 200
    epsilon: float | None = None
    alpha: float = 0.2
    iterations: int = 300
    mask_rate: float = 0.2
    threshold: float | None = None
    recovery_steps: int = 500
    recovery_rate: float = 0.02
    max_share: float = 0.03
    mixup: float = 0.5
    padding: int | None = None
    flip: bool | None = None
    seed: int = 0
    precision: str | None = None


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
        verbose: Keras' verbosity.
        **settings: fields of `Settings`.

    Returns:
        The purified classifier, plain Keras, which takes images as
        `classifier` does, and the `Report`.

    Raises:
        ValueError: where the classifier, the clean images or a setting will
            not do, or clean accuracy is at chance.
    """
    start = time.monotonic()
    settings = Settings(**settings)
    settings = dataclasses.replace(
        settings, precision=settings.precision or devices.default_precision()
    )
    classifiers.check_classifier(classifier)
    clean = _checked(classifier, clean)
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
    job = _Purification(original, optimise, judge, settings, verbose)
    purified = job.run(oracle)
    job.score(purified, judge, poisoning, test)
    return values.restore(purified), job.report(
        purified, clean, class_names, values, time.monotonic() - start
    )


class _Purification:
    """The steps of one purification and what they found."""

    def __init__(self, original, optimise, judge, settings, verbose):
        self.original = original
        self.optimise = optimise
        self.judge = judge
        self.settings = settings
        self.verbose = verbose
        self.pruned_classifier = None
        self.masks, self.skipped, self.pruned, self.curve = {}, {}, {}, []
        self.chosen, self.because, self.oracle = None, "", False
        self.epsilon = self.gentle_rate = None

    def run(self, oracle):
        """The purified classifier."""
        settings = self.settings
        self.scan = scanning.scan(
            self.original,
            self.optimise,
            steps=settings.scan_steps,
            seed=settings.seed,
            precision=settings.precision,
            verbose=self.verbose,
        )
        left_alone = not (settings.always or oracle or settings.threshold)
        if self.scan.verdict == "clean" and left_alone:
            self.because = "The scan found no backdoor; nothing was changed."
            return fine_tuning.copy_classifier(self.original)
        self._learn_masks()
        self._prune(oracle)
        if not settings.recovery_steps:
            return self.pruned_classifier
        return self._recover()

    def _recover(self):
        """Recovers by SGD, or more gently where that breaks the classifier.

        Weights that meet large inputs without a normalisation bear no SGD at
        a rate that suits others.
        """
        before = self.curve[0].scores
        for adam_rate in (None, *_GENTLE_RATES):
            recovered = self._recover_by(adam_rate)
            after = evaluation.evaluate(recovered, self.judge)
            loss = evaluation.accuracy_loss(before, after)
            if loss.value <= _BREAKDOWN:
                break
        self.gentle_rate = adam_rate
        return recovered

    def _recover_by(self, adam_rate):
        settings, optimizer = self.settings, None
        if adam_rate:
            optimizer = keras.optimizers.Adam(adam_rate)
        return distillation.recover(
            self.pruned_classifier,
            self.original,
            self._batches(_RECOVERY_BATCH),
            self.pruned,
            triggers=self.scan.triggers.of(self.scan.suspects),
            max_share=settings.max_share,
            match_features=True,
            mixup=settings.mixup,
            steps=settings.recovery_steps,
            learning_rate=settings.recovery_rate,
            optimizer=optimizer,
            seed=settings.seed,
            precision=settings.precision,
            verbose=self.verbose,
        )

    def _batches(self, batch_size):
        settings = self.settings
        return augmentation.augment(
            sampling.training_batches(
                self.optimise, batch_size, seed=settings.seed, replacement=True
            ),
            padding=settings.padding,
            flip=settings.flip,
            seed=settings.seed,
        )

    def _learn_masks(self):
        settings, batches = self.settings, self._batches(_ANP_BATCH)
        self.epsilon = settings.epsilon
        if self.epsilon is None:
            self.epsilon = calibration.choose_epsilon(
                self.original,
                batches,
                seed=settings.seed,
                precision=settings.precision,
            )
        anp = anp_module.AdversarialNeuronPruning(
            self.original,
            epsilon=self.epsilon,
            alpha=settings.alpha,
            seed=settings.seed,
            precision=settings.precision,
        )
        anp.compile()
        anp.optimizer.learning_rate = settings.mask_rate
        anp.fit(
            batches,
            steps_per_epoch=settings.iterations,
            callbacks=[training.StopOnNaN()],
            verbose=self.verbose,
        )
        self.masks, self.skipped = anp.neuron_masks(), anp.skipped

    def _prune(self, oracle):
        """Prunes a copy at the strongest threshold that is safe."""
        self.curve = pruning.pruning_curve(
            self.original,
            self.masks,
            self.judge,
            oracle,
            precision=self.settings.precision,
        )
        point = self._choose(oracle)
        self.chosen = point if point.pruned else None
        self.pruned_classifier = fine_tuning.copy_classifier(self.original)
        self.pruned = pruning.prune_neurons(
            self.pruned_classifier, self.masks, number=point.pruned
        )

    def _choose(self, oracle):
        drop = self.settings.max_accuracy_drop
        if drop is None:
            drop = _DROP_OF_VERDICT[self.scan.verdict]
        if self.settings.threshold is not None:
            self.because = "The user gave the threshold."
            return _nearest(self.curve, self.settings.threshold)
        budget = f"{100 * drop:.0f} points of held-out accuracy"
        if oracle is not None:
            self.oracle = True
            self.because = f"Least attack success within {budget}."
            return _of_least_attack(self.curve, drop)
        point = pruning.choose_threshold(
            self.curve, max_accuracy_drop=drop, confident=True
        )
        if point.pruned:
            loss = evaluation.accuracy_loss(self.curve[0].scores, point.scores)
            self.because = (
                f"Strongest pruning whose loss, {loss}, stays within {budget} "
                "with 95 % confidence."
            )
        else:
            self.because = (
                "No safe threshold: the weakest pruning may cost more than "
                f"{budget}; no neuron was pruned."
            )
        return point

    def score(self, purified, judge, poisoning, test):
        """Scores the classifiers on held-out and on test images."""
        rows = {"before": self.original}
        if self.pruned_classifier is not None:
            rows["pruned"] = self.pruned_classifier
        rows["purified"] = purified
        self.scores, self.test_scores = (
            {
                name: evaluation.evaluate(row, images, poisoning)
                for name, row in rows.items()
            }
            if images is not None
            else {}
            for images in (judge, test)
        )
        self.loss = evaluation.accuracy_loss(
            self.scores["before"], self.scores["purified"]
        )

    def report(self, purified, clean, class_names, values, seconds):
        """All of it, to be read."""
        images, labels = next(iter(self.judge.batch(_SAMPLES)))
        rows = {"before": self.original, "purified": purified}
        warnings = sanity.warnings(self.original, purified, clean, self.masks)
        return report_module.Report(
            verdict=self._verdict(),
            warnings=warnings,
            scores=self.scores,
            scored_on=f"{sampling.cardinality(self.judge)} clean images held "
            "out from the optimisation",
            test_scores=self.test_scores,
            curve=self.curve,
            chosen=self.chosen,
            chosen_because=self.because,
            oracle=self.oracle,
            neuron_masks=self.masks,
            pruned=self.pruned,
            skipped=self.skipped,
            samples=images.numpy(),
            sample_labels=labels.numpy().tolist(),
            predictions={
                name: classifiers.predicted_classes(row, images).tolist()
                for name, row in rows.items()
            },
            class_names=class_names,
            attention=_attention(rows, images),
            target_scores={
                "verdict": str(self.scan),
                "scores": self.scan.anomalies.tolist(),
                "suspected": self.scan.suspected,
                "note": "Anomaly of the smallest trigger found for each class; "
                "above 3.5 speaks for a backdoor, below 2.5 against one.",
            },
            settings={
                **dataclasses.asdict(self.settings),
                "epsilon": self.epsilon,
                "recovery_by_adam_at": self.gentle_rate,
                "value_range": values.name,
            },
            versions=report_module.versions(),
            seed=self.settings.seed,
            seconds=seconds,
            peak_memory=report_module.peak_memory(),
        )

    def _verdict(self):
        found = str(self.scan)
        if self.pruned_classifier is None:
            return f"The scan says: {found}. The classifier was left as it is."
        count = sum(map(len, self.pruned.values()))
        total = sum(map(len, self.masks.values()))
        return (
            f"The scan says: {found}. {count} of {total} neurons were pruned, "
            f"and triggers of classes {self.scan.suspects} unlearned, at a "
            f"cost of {self.loss} of held-out accuracy."
        )


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


def _nearest(curve, threshold):
    """The point of the largest threshold that is not above `threshold`."""
    return [point for point in curve if point.threshold <= threshold][-1]


def _of_least_attack(curve, drop):
    floor = curve[0].scores.clean_accuracy.value - drop
    return min(
        (p for p in curve if p.scores.clean_accuracy.value >= floor),
        key=lambda point: point.scores.attack_success.value,
    )


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
