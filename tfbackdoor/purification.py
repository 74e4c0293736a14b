"""The steps of a purification: scan, neuron masks, pruning, recovery."""

import dataclasses

import keras
import numpy as np

from tfbackdoor import augmentation
from tfbackdoor import evaluation
from tfbackdoor import rates
from tfbackdoor import sampling
from tfbackdoor import scanning
from tfbackdoor import training
from tfbackdoor.defenses import anp as anp_module
from tfbackdoor.defenses import fine_tuning
from tfbackdoor.defenses import pruning
from tfbackdoor.defenses import recovery

_DROP_OF_VERDICT = {"backdoored": 0.01, "not sure": 0.15, "clean": 0.01}
_ANP_BATCH, _RECOVERY_BATCH = 128, 64
_BREAKDOWN = 0.1
_GENTLER = (1.0, 0.1, 0.01)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PurifySettings:
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
        recovery_rate: float > 0, learning rate of recovery by Adam, which
            falls to 0; a tenth of it, then a hundredth, where that costs over
            10 points of held-out accuracy.
        max_share: float in (0, 1], pixels of the patches that are unlearned.
        max_opacity: float in [0, 1], of the blends over all pixels that are
            unlearned where no patch of that share calls a suspect, 0 for none.
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
    recovery_rate: float = 3e-4
    max_share: float = 0.03
    max_opacity: float = 0.2
    mixup: float = 0.5
    padding: int | None = None
    flip: bool | None = None
    seed: int = 0
    precision: str | None = None


class Purification:
    """The steps of one purification and what they found.

    Args:
        original: the suspicious classifier, images in [0, 1]; not changed.
        optimise: unbatched clean images that optimise.
        judge: unbatched clean images that judge.
        settings: complete but for what the steps choose.
        verbose: Keras' verbosity; steps are announced unless it is 0.
    """

    def __init__(self, original, optimise, judge, settings, verbose):
        self.original = original
        self.optimise = optimise
        self.judge = judge
        self.settings = settings
        self.verbose = verbose
        self.pruned_classifier = None
        self.masks, self.skipped, self.pruned, self.curve = {}, {}, {}, []
        self.chosen, self.because, self.oracle = None, "", False
        self.recovery_rate = None
        self.unlearned = []

    def run(self, oracle):
        """The purified classifier."""
        settings = self.settings
        self._announce("Scanning for a backdoor")
        self.scan = scanning.scan(
            self.original,
            self.optimise,
            steps=settings.scan_steps,
            epsilon=settings.epsilon,
            seed=settings.seed,
            precision=settings.precision,
            verbose=self.verbose,
        )
        asked_for = (
            settings.always
            or oracle is not None
            or settings.threshold is not None
        )
        if self.scan.verdict == "clean" and not asked_for:
            self.because = "The scan found no backdoor; nothing was changed."
            return fine_tuning.copy_classifier(self.original)
        self._learn_masks()
        self._prune(oracle)
        if not settings.recovery_steps:
            return self.pruned_classifier
        return self._recover()

    def _recover(self):
        """Recovers, ever more gently where that breaks the classifier.

        Weights that meet large inputs without a normalisation bear no rate
        that suits others.
        """
        self._announce("Recovering accuracy and unlearning triggers")
        self.unlearned = self.scan.suspects
        before = self.curve[0].scores
        for factor in _GENTLER:
            self.recovery_rate = factor * self.settings.recovery_rate
            recovered = self._recover_at(self.recovery_rate)
            after = evaluation.evaluate(recovered, self.judge)
            loss = rates.accuracy_loss(before, after)
            if loss.value <= _BREAKDOWN:
                break
        return recovered

    def _recover_at(self, rate):
        settings, steps = self.settings, self.settings.recovery_steps
        triggers = self.scan.triggers.of(self.unlearned)
        falling = keras.optimizers.schedules.CosineDecay(rate, steps)
        return recovery.recover(
            self.pruned_classifier,
            self.original,
            self._batches(_RECOVERY_BATCH, self._recovery_weights()),
            self.pruned,
            triggers=triggers,
            max_share=settings.max_share,
            max_opacity=self._opacity(triggers),
            match_features=True,
            mixup=settings.mixup,
            batch_statistics=False,
            steps=steps,
            optimizer=keras.optimizers.Adam(falling),
            seed=settings.seed,
            precision=settings.precision,
            verbose=self.verbose,
        )

    def _opacity(self, triggers):
        """Of the blends: those that no patch calls need more than patches."""
        share = np.min(triggers.masks.mean(axis=(1, 2, 3)), initial=1.0)
        patches_do = share <= self.settings.max_share
        return 0.0 if patches_do else self.settings.max_opacity

    def _recovery_weights(self):
        """Half of the images are of the classes whose triggers are unlearned.

        Else unlearning what calls a class of few images unlearns the class.
        """
        of_suspects = np.isin(sampling.labels_of(self.optimise), self.unlearned)
        share = np.mean(of_suspects)
        if not 0.0 < share < 0.5:
            return None
        return np.where(of_suspects, 0.5 / share, 0.5 / (1.0 - share))

    def _batches(self, batch_size, weights=None):
        settings = self.settings
        return augmentation.augment(
            sampling.training_batches(
                self.optimise,
                batch_size,
                seed=settings.seed,
                replacement=True,
                weights=weights,
            ),
            padding=settings.padding,
            flip=settings.flip,
            seed=settings.seed,
        )

    def _learn_masks(self):
        settings, batches = self.settings, self._batches(_ANP_BATCH)
        epsilon = self.scan.epsilon
        self._announce(f"Learning neuron masks at epsilon {epsilon:.3g}")
        anp = anp_module.AdversarialNeuronPruning(
            self.original,
            epsilon=epsilon,
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
        self._announce("Scoring thresholds on held-out images")
        thresholds = set(pruning.THRESHOLDS)
        if self.settings.threshold is not None:
            thresholds.add(self.settings.threshold)
        self.curve = pruning.pruning_curve(
            self.original,
            self.masks,
            self.judge,
            oracle,
            thresholds=sorted(thresholds),
            precision=self.settings.precision,
        )
        point = self._choose(oracle)
        if point.pruned or self.settings.threshold is not None:
            self.chosen = point
        self.pruned_classifier = fine_tuning.copy_classifier(self.original)
        self.pruned = pruning.prune_neurons(
            self.pruned_classifier, self.masks, number=point.pruned
        )

    def _announce(self, step):
        if self.verbose:
            print(step, flush=True)

    def _choose(self, oracle):
        drop = self.settings.max_accuracy_drop
        if drop is None:
            drop = _DROP_OF_VERDICT[self.scan.verdict]
        if self.settings.threshold is not None:
            self.because = "The user gave the threshold."
            return _at(self.curve, self.settings.threshold)
        plural = "" if drop == 0.01 else "s"
        budget = f"{100 * drop:g} point{plural} of held-out accuracy"
        if oracle is not None:
            self.oracle = True
            self.because = f"Least attack success within {budget}."
            return _of_least_attack(self.curve, drop)
        point = pruning.choose_threshold(
            self.curve, max_accuracy_drop=drop, confident=True
        )
        if point.pruned:
            loss = rates.accuracy_loss(self.curve[0].scores, point.scores)
            self.because = (
                f"Strongest pruning whose loss, {loss}, stays within {budget} "
                "with 95 % confidence."
            )
        else:
            self.because = f"The weakest pruning may cost more than {budget}."
        return point


def _at(curve, threshold):
    """The point of the threshold that the user gave."""
    for point in curve:
        if point.threshold == threshold:
            return point
    raise ValueError(
        "`threshold` must leave accuracy above chance; from "
        f"{curve[-1].threshold} on it does not. Received: "
        f"threshold={threshold}"
    )


def _of_least_attack(curve, drop):
    floor = curve[0].scores.clean_accuracy.value - drop
    return min(
        (p for p in curve if p.scores.clean_accuracy.value >= floor),
        key=lambda point: point.scores.attack_success.value,
    )
