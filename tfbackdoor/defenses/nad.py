"""NAD with its paper's settings, and the choice of its learning rate."""

import keras

from tfbackdoor import evaluation
from tfbackdoor import rates
from tfbackdoor.defenses import fine_tuning
from tfbackdoor.defenses import neural_attention_distillation
from tfbackdoor.defenses import rate_search
from tfbackdoor.defenses import result
from tfbackdoor.network import copying
from tfbackdoor.training import classifier_training


def by_nad(
    classifier,
    clean,
    run,
    *,
    teacher: keras.Model | None = None,
    taps=None,
    betas=None,
    power: float = 2.0,
    teacher_epochs: int = 10,
    teacher_rate: float = 0.1,
    epochs: int = 10,
    batch_size: int = 64,
    learning_rate: float | None = 0.1,
    folds: int = 2,
    decay_factor: float = 0.1,
    decay_every: int = 2,
    weight_decay: float = 1e-4,
    cutout_holes: int = 1,
    cutout_length: int = 9,
) -> result.DefenseResult:
    """NAD (Li et al. 2021); see `NeuralAttentionDistillation`.

    Args:
        classifier: see `defend`.
        clean: see `defend`.
        run: the other arguments of `defend`.
        teacher: classifier to imitate, default the classifier fine-tuned.
        taps: see `NeuralAttentionDistillation`.
        betas: see `NeuralAttentionDistillation`.
        power: see `NeuralAttentionDistillation`.
        teacher_epochs: int > 0, of fine-tuning a teacher (5 to 10).
        teacher_rate: float > 0, its learning rate at the start (0.1). Rates
            that suit a network grow with the squared norm of its kernels, see
            docs/RESULTS.md.
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
    """
    decay = {"decay_factor": decay_factor, "decay_every": decay_every}
    cutout = {"cutout_holes": cutout_holes, "cutout_length": cutout_length}

    def teacher_on(images):
        if teacher is not None:
            return teacher
        return fine_tuning.by_fine_tuning(
            classifier,
            images,
            run,
            epochs=teacher_epochs,
            batch_size=batch_size,
            learning_rate=teacher_rate,
            weight_decay=weight_decay,
            **decay,
            **cutout,
        ).classifier

    def distillation(tutor):
        return neural_attention_distillation.NeuralAttentionDistillation(
            copying.copy_classifier(classifier),
            tutor,
            taps=taps,
            betas=betas,
            power=power,
            synchronised=run.synchronised,
            precision=run.precision,
            train_frozen=run.train_frozen,
        )

    def distil(images, tutor, rate):
        nad = distillation(tutor)
        nad.compile(fine_tuning.paper_optimizer(rate, weight_decay))
        nad.fit(
            run.batches(images, batch_size, **cutout),
            epochs=epochs,
            callbacks=[classifier_training.StopOnNaN()],
            verbose=run.verbose,
            **decay,
        )
        return nad

    distillation(teacher)  # Settings that do not fit end here, not later.
    chosen = {}
    if learning_rate is None:
        chosen = _choose_rate(teacher_on, distil, run.folds(clean, folds))
        learning_rate = chosen["learning_rate"]
    nad = distil(clean, teacher_on(clean), learning_rate)
    return result.DefenseResult(
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
