"""The steps of ANP: masks, pruning curve, choice, pruning, recovery."""

import dataclasses
import math

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor import rates
from tfbackdoor.attacks import poisoning as poisoning_module
from tfbackdoor.defenses import adversarial_neuron_pruning
from tfbackdoor.defenses import calibration
from tfbackdoor.defenses import pruning
from tfbackdoor.defenses import result
from tfbackdoor.defenses import self_distillation
from tfbackdoor.network import copying
from tfbackdoor.training import classifier_training
from tfbackdoor.training import optimizers
from tfbackdoor.training import run_settings

_ITERATIONS_PER_EPOCH = 100


@dataclasses.dataclass(frozen=True, eq=False)
class Pruned:
    """A classifier pruned by its masks, and how far was chosen.

    Args:
        classifier: the pruned copy.
        neurons: from layer name to the indices of its pruned neurons.
        curve: the scores on the held-out images, by threshold.
        chosen: the point of the curve that was taken, None where a given
            threshold lies beyond its end.
        because: str, one sentence why.
    """

    classifier: keras.Model
    neurons: dict[str, np.ndarray]
    curve: list[pruning.CurvePoint]
    chosen: pruning.CurvePoint | None
    because: str

    @property
    def count(self) -> int:
        """How many neurons were pruned."""
        return sum(map(len, self.neurons.values()))


def by_anp(
    classifier,
    clean,
    run,
    *,
    epsilon: float | None = 0.4,
    alpha: float = 0.2,
    steps: int = 1,
    iterations: int = 2000,
    average_after: int | None = None,
    batch_size: int = 128,
    learning_rate: float = 0.2,
    momentum: float = 0.9,
    held_out: float = 0.2,
    max_accuracy_drop: float = 0.03,
    threshold: float | None = None,
    neuron_masks: dict | None = None,
    recovery_steps: int = 0,
    recovery_rate: float = 0.01,
    recovery_batch_size: int = 64,
) -> result.DefenseResult:
    """ANP (Wu & Wang 2021); see `AdversarialNeuronPruning`.

    Args:
        classifier: see `defend`.
        clean: see `defend`.
        run: the other arguments of `defend`.
        epsilon: float >= 0, the perturbation (0.4), or None: `choose_epsilon`.
        alpha: float in [0, 1], weight of the clean loss (0.2).
        steps: int > 0, steps of the perturbation (1).
        iterations: int > 0, batches (2,000), split evenly into epochs of at
            most 100 and rounded up where they do not divide.
        average_after: int >= 0 or None, see `AdversarialNeuronPruning`.
        batch_size: int > 0 (128).
        learning_rate: float > 0, of the masks (0.2).
        momentum: float in [0, 1), of the masks (0.9).
        held_out: float in (0, 1), share of the clean images that judges.
        max_accuracy_drop: float in [0, 1], held-out accuracy that pruning may
            cost, see `choose_threshold`.
        threshold: float in [0, 1], in place of choosing one (0.2 in the
            paper).
        neuron_masks: masks learned before, in place of learning them.
        recovery_steps: int >= 0, batches of `self_distill` on all clean images
            (none in the paper).
        recovery_rate: float > 0, its learning rate at the start.
        recovery_batch_size: int > 0, images in each of them.
    """
    optimise, judge, run = run.hold_out(clean, held_out)
    masks = neuron_masks
    if masks is None:
        batches = run.batches(optimise, batch_size, replacement=True)
        if epsilon is None:
            epsilon = calibration.choose_epsilon(
                classifier, batches, seed=run.seed, precision=run.precision
            )
        masks, _ = learn_masks(
            classifier,
            batches,
            run,
            epsilon=epsilon,
            alpha=alpha,
            steps=steps,
            iterations=iterations,
            average_after=average_after,
            learning_rate=learning_rate,
            momentum=momentum,
        )
    pruned = prune(
        classifier,
        masks,
        judge,
        run,
        threshold=threshold,
        max_accuracy_drop=max_accuracy_drop,
    )
    stages = {"after ANP": pruned.classifier}
    if recovery_steps:
        stages["recovered"] = self_distillation.self_distill(
            pruned.classifier,
            classifier,
            # Nothing is judged any more, so that all clean images may teach.
            run.batches(clean, recovery_batch_size, replacement=True),
            pruned.neurons,
            steps=recovery_steps,
            learning_rate=recovery_rate,
            precision=run.precision,
            train_frozen=run.train_frozen,
            verbose=run.verbose,
        )
    is_given = threshold is not None
    return result.DefenseResult(
        stages,
        {
            "epsilon": epsilon if neuron_masks is None else None,
            "threshold": threshold if is_given else pruned.chosen.threshold,
            "threshold_chosen_by": (
                "the user" if is_given else "held-out clean accuracy"
            ),
        },
        {"masks": masks, "curve": pruned.curve, "pruned": pruned.neurons},
    )


def learn_masks(
    classifier: keras.Model,
    batches: tf.data.Dataset,
    run: run_settings.RunSettings,
    *,
    epsilon: float,
    alpha: float = 0.2,
    steps: int = 1,
    iterations: int = 2000,
    average_after: int | None = None,
    learning_rate: float = 0.2,
    momentum: float = 0.9,
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The neuron masks of a classifier, and the layers without any.

    Args:
        classifier: built Keras classifier; it is not changed.
        batches: endless batched data set of clean `(images, labels)`.
        run: seed, precision, synchronisation and verbosity.
        epsilon, alpha, steps, average_after: see `AdversarialNeuronPruning`.
        iterations, learning_rate, momentum: see `by_anp`.

    Returns:
        From layer name to mask, and from layer name to the reason why it has
        none.
    """
    anp = adversarial_neuron_pruning.AdversarialNeuronPruning(
        classifier,
        epsilon=epsilon,
        alpha=alpha,
        steps=steps,
        average_after=average_after,
        seed=run.seed,
        synchronised=run.synchronised,
        precision=run.precision,
    )
    anp.compile(optimizers.CoupledSGD(learning_rate, momentum=momentum))
    epochs = math.ceil(iterations / _ITERATIONS_PER_EPOCH)
    anp.fit(
        batches,
        steps_per_epoch=math.ceil(iterations / epochs),
        epochs=epochs,
        callbacks=[classifier_training.StopOnNaN()],
        verbose=run.verbose,
    )
    return anp.neuron_masks(), anp.skipped


def prune(
    classifier: keras.Model,
    masks: dict[str, np.ndarray],
    judge: tf.data.Dataset,
    run: run_settings.RunSettings,
    *,
    threshold: float | None = None,
    max_accuracy_drop: float = 0.03,
    confident: bool = False,
    oracle: poisoning_module.Poisoning | None = None,
) -> Pruned:
    """A copy of a classifier, pruned as far as held-out images allow.

    Args:
        classifier: the classifier that the masks were learned on; it is not
            changed.
        masks: from layer name to mask.
        judge: unbatched clean images that no mask was learned on.
        run: the precision of the forward passes.
        threshold: float in [0, 1], in place of choosing one.
        max_accuracy_drop, confident: see `choose_threshold`.
        oracle: the attack, to choose the threshold by, which no defender can.
    """
    given = set() if threshold is None else {threshold}
    curve = pruning.pruning_curve(
        classifier,
        masks,
        judge,
        oracle,
        thresholds=sorted({*pruning.THRESHOLDS, *given}),
        precision=run.precision,
    )
    copy = copying.copy_classifier(classifier)
    if threshold is not None:
        pruned = pruning.prune_neurons(copy, masks, threshold=threshold)
        chosen = next((p for p in curve if p.threshold == threshold), None)
        because = "The user gave the threshold."
        return Pruned(copy, pruned, curve, chosen, because)
    if oracle is None:
        chosen = pruning.choose_threshold(
            curve, max_accuracy_drop=max_accuracy_drop, confident=confident
        )
    else:
        chosen = pruning.least_attacked(curve, max_accuracy_drop)
    pruned = pruning.prune_neurons(copy, masks, number=chosen.pruned)
    because = _explain(curve, chosen, max_accuracy_drop, confident, oracle)
    return Pruned(copy, pruned, curve, chosen, because)


def _explain(curve, chosen, max_accuracy_drop, confident, oracle):
    """One sentence on why `chosen` was taken."""
    plural = "" if max_accuracy_drop == 0.01 else "s"
    budget = f"{100 * max_accuracy_drop:g} point{plural} of held-out accuracy"
    if oracle is not None:
        return f"Least attack success within {budget}."
    if not chosen.pruned:
        return f"The weakest pruning may cost more than {budget}."
    loss = rates.accuracy_loss(curve[0].scores, chosen.scores)
    confidence = " with 95 % confidence" if confident else ""
    return (
        f"Strongest pruning whose loss, {loss}, stays within {budget}"
        f"{confidence}."
    )
