"""The defences of the two papers, by their settings."""

import math

import keras

from tfbackdoor import calibration
from tfbackdoor import evaluation
from tfbackdoor import optimizers
from tfbackdoor import rates
from tfbackdoor import training
from tfbackdoor.defenses import anp as anp_module
from tfbackdoor.defenses import baselines
from tfbackdoor.defenses import conditions as conditions_module
from tfbackdoor.defenses import fine_tuning
from tfbackdoor.defenses import nad as nad_module
from tfbackdoor.defenses import pruning
from tfbackdoor.defenses import rate_search
from tfbackdoor.defenses import recovery

_ITERATIONS_PER_EPOCH = 100
_SMALL_ITERATIONS, _SMALL_RECOVERY = 10, 5


def by_nad(
    classifier,
    clean,
    conditions,
    *,
    teacher: keras.Model | None = None,
    taps=None,
    betas=None,
    power: float = 2.0,
    teacher_epochs: int = 10,
    epochs: int = 10,
    batch_size: int = 64,
    learning_rate: float | None = 0.1,
    folds: int = 2,
    decay_factor: float = 0.1,
    decay_every: int = 2,
    weight_decay: float = 1e-4,
    cutout_holes: int = 1,
    cutout_length: int = 9,
    synchronised: bool = True,
) -> conditions_module.Defended:
    """NAD (Li et al. 2021); see `NeuralAttentionDistillation`.

    Args:
        classifier: see `defend`.
        clean: see `defend`.
        conditions: the other arguments of `defend`.
        teacher: classifier to imitate, default the classifier fine-tuned.
        taps: see `NeuralAttentionDistillation`.
        betas: see `NeuralAttentionDistillation`.
        power: see `NeuralAttentionDistillation`.
        teacher_epochs: int > 0, of fine-tuning a teacher (5 to 10).
        epochs: int > 0, of distillation (10).
        batch_size: int > 0 (64).
        learning_rate: float > 0 at the start (0.1), or None: the highest at
            which the student stays as accurate as its teacher, see
            `choose_learning_rate`; then all is distilled once more at it.
        folds: int >= 2, parts of the clean images: rates are judged on each
            part by what the others teach, so on all images.
        decay_factor: float in (0, 1], what multiplies it (0.1) ...
        decay_every: int > 0, ... after so many epochs (2).
        weight_decay: float >= 0 (1e-4).
        cutout_holes: int >= 0, holes of Cutout (1).
        cutout_length: int > 0, their side in pixels (9).
        synchronised: bool, see `NeuralAttentionDistillation`.
    """
    decay = {"decay_factor": decay_factor, "decay_every": decay_every}
    cutout = {"cutout_holes": cutout_holes, "cutout_length": cutout_length}

    def teacher_on(images):
        if teacher is not None:
            return teacher
        return baselines.by_fine_tuning(
            classifier,
            images,
            conditions,
            epochs=teacher_epochs,
            batch_size=batch_size,
            weight_decay=weight_decay,
            **decay,
            **cutout,
        ).classifier

    def distil(images, tutor, rate):
        nad = nad_module.NeuralAttentionDistillation(
            fine_tuning.copy_classifier(classifier),
            tutor,
            taps=taps,
            betas=betas,
            power=power,
            synchronised=synchronised,
            precision=conditions.precision,
        )
        nad.compile(fine_tuning.paper_optimizer(rate, weight_decay))
        nad.fit(
            conditions.batches(images, batch_size, **cutout),
            epochs=conditions.epochs(epochs),
            callbacks=[training.StopOnNaN()],
            verbose=conditions.verbose,
            **decay,
        )
        return nad

    chosen = {}
    if learning_rate is None:
        chosen = _choose_rate(
            teacher_on, distil, conditions.folds(clean, folds)
        )
        learning_rate = chosen["learning_rate"]
    nad = distil(clean, teacher_on(clean), learning_rate)
    return conditions_module.Defended(
        {"teacher": nad.teacher, "after NAD": nad.student},
        {"taps": nad.taps, **chosen},
    )


def _choose_rate(teacher_on, distil, folds):
    """The learning rate for NAD, with the held-out accuracies behind it."""
    tutors = [teacher_on(optimise) for optimise, _ in folds]

    def scores_of(classifiers):
        return rates.pool(
            [
                evaluation.evaluate(classifier, judge)
                for classifier, (_, judge) in zip(classifiers, folds)
            ]
        )

    def scores_at(rate):
        return scores_of(
            [
                distil(optimise, tutor, rate).student
                for tutor, (optimise, _) in zip(tutors, folds)
            ]
        )

    teacher = scores_of(tutors)
    rate, tried = rate_search.choose_learning_rate(scores_at, teacher)
    return {
        "learning_rate": rate,
        "held_out_accuracy": tried,
        "teachers_held_out_accuracy": teacher.clean_accuracy.value,
    }


def by_anp(
    classifier,
    clean,
    conditions,
    *,
    epsilon: float | None = 0.4,
    alpha: float = 0.2,
    steps: int = 1,
    iterations: int = 2000,
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
    synchronised: bool = True,
) -> conditions_module.Defended:
    """ANP (Wu & Wang 2021); see `AdversarialNeuronPruning`.

    Args:
        classifier: see `defend`.
        clean: see `defend`.
        conditions: the other arguments of `defend`.
        epsilon: float >= 0, the perturbation (0.4), or None: `choose_epsilon`.
        alpha: float in [0, 1], weight of the clean loss (0.2).
        steps: int > 0, steps of the perturbation (1).
        iterations: int > 0, batches (2,000), split evenly into epochs of at
            most 100 and rounded up where they do not divide.
        batch_size: int > 0 (128).
        learning_rate: float > 0, of the masks (0.2).
        momentum: float in [0, 1), of the masks (0.9).
        held_out: float in (0, 1), share of the clean images that judges.
        max_accuracy_drop: float in [0, 1], held-out accuracy that pruning may
            cost, see `choose_threshold`.
        threshold: float in [0, 1], in place of choosing one (0.2 in the
            paper).
        neuron_masks: masks learned before, in place of learning them.
        recovery_steps: int >= 0, batches of `recover` on all clean images
            (none in the paper).
        recovery_rate: float > 0, its learning rate at the start.
        recovery_batch_size: int > 0, images in each of them.
        synchronised: bool, see `AdversarialNeuronPruning`.
    """
    optimise, judge = conditions.hold_out(clean, held_out)
    masks = neuron_masks
    if masks is None:
        batches = conditions.batches(optimise, batch_size, replacement=True)
        if epsilon is None:
            epsilon = calibration.choose_epsilon(
                classifier,
                batches,
                seed=conditions.seed,
                precision=conditions.precision,
            )
        anp = anp_module.AdversarialNeuronPruning(
            classifier,
            epsilon=epsilon,
            alpha=alpha,
            steps=steps,
            seed=conditions.seed,
            synchronised=synchronised,
            precision=conditions.precision,
        )
        anp.compile(optimizers.CoupledSGD(learning_rate, momentum=momentum))
        masks = _learn_masks(anp, batches, conditions, iterations)
    curve = pruning.pruning_curve(
        classifier, masks, judge, precision=conditions.precision
    )
    copy = fine_tuning.copy_classifier(classifier)
    if threshold is None:
        chosen_by = "held-out clean accuracy"
        point = pruning.choose_threshold(
            curve, max_accuracy_drop=max_accuracy_drop
        )
        threshold = point.threshold
        pruned = pruning.prune_neurons(copy, masks, number=point.pruned)
    else:
        chosen_by = "the user"
        pruned = pruning.prune_neurons(copy, masks, threshold=threshold)
    stages = {"after ANP": copy}
    if recovery_steps:
        stages["recovered"] = recovery.recover(
            copy,
            classifier,
            # Nothing is judged any more, so that all clean images may teach.
            conditions.batches(clean, recovery_batch_size, replacement=True),
            pruned,
            steps=_SMALL_RECOVERY if conditions.small else recovery_steps,
            learning_rate=recovery_rate,
            precision=conditions.precision,
            verbose=conditions.verbose,
        )
    return conditions_module.Defended(
        stages,
        {
            "epsilon": epsilon if neuron_masks is None else None,
            "threshold": threshold,
            "threshold_chosen_by": chosen_by,
        },
        {"masks": masks, "curve": curve, "pruned": pruned},
    )


def _learn_masks(anp, batches, conditions, iterations):
    if conditions.small:
        iterations = _SMALL_ITERATIONS
    epochs = math.ceil(iterations / _ITERATIONS_PER_EPOCH)
    anp.fit(
        batches,
        steps_per_epoch=math.ceil(iterations / epochs),
        epochs=epochs,
        callbacks=[training.StopOnNaN()],
        verbose=conditions.verbose,
    )
    return anp.neuron_masks()
