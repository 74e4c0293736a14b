"""The steps of RNP: unlearning, recovery by masks, pruning."""

from tfbackdoor.defenses import anp
from tfbackdoor.defenses import fine_tuning
from tfbackdoor.defenses import reconstructive_neuron_pruning
from tfbackdoor.defenses import result
from tfbackdoor.network import copying
from tfbackdoor.training import classifier_training
from tfbackdoor.training import optimizers

_UNLEARNING_DECAYS_EVERY = 10


def by_rnp(
    classifier,
    clean,
    run,
    *,
    unlearning_epochs: int = 20,
    unlearned_accuracy: float = 0.2,
    unlearning_rate: float = 0.01,
    weight_decay: float = 5e-4,
    epochs: int = 20,
    alpha: float = 0.2,
    learning_rate: float = 0.2,
    momentum: float = 0.9,
    batch_size: int = 128,
    held_out: float = 0.2,
    max_accuracy_drop: float = 0.03,
    threshold: float | None = None,
) -> result.DefenseResult:
    """RNP (Li et al. 2023); see `NeuronUnlearning` and `NeuronRecovery`.

    The masks prune the classifier as it was given. The authors read the
    threshold from scores on test images; here held-out clean images choose it,
    as in ANP.

    Args:
        classifier: see `defend`.
        clean: see `defend`.
        run: the other arguments of `defend`.
        unlearning_epochs: int > 0, at most (20); the rate is divided by 10
            after every 10.
        unlearned_accuracy: float in [0, 1], clean accuracy of an epoch at
            which unlearning ends (0.2). The details tell what was reached: at
            the lower rate some networks stay above.
        unlearning_rate: float > 0 at the start (0.01).
        weight_decay: float >= 0, of unlearning (5e-4).
        epochs: int > 0, of recovery (20).
        alpha: float > 0, see `NeuronRecovery` (0.2).
        learning_rate: float > 0, of the masks (0.2).
        momentum: float in [0, 1), of both (0.9).
        batch_size: int > 0 (128).
        held_out: float in (0, 1), share of the clean images that judges.
        max_accuracy_drop: float in [0, 1], held-out accuracy that pruning may
            cost, see `choose_threshold`.
        threshold: float in [0, 1], in place of choosing one (0.2 and 0.3 in
            the authors' log).
    """
    optimise, judge, run = run.hold_out(clean, held_out)
    batches = run.batches(optimise, batch_size)
    stop_on_nan = classifier_training.StopOnNaN()
    unlearned = copying.copy_classifier(classifier)
    unlearning = reconstructive_neuron_pruning.NeuronUnlearning(
        unlearned,
        precision=run.precision,
        synchronised=run.synchronised,
        train_frozen=run.train_frozen,
    )
    unlearning.compile(
        optimizers.CoupledSGD(
            unlearning_rate, momentum=momentum, l2=weight_decay
        )
    )
    unlearning_history = unlearning.fit(
        batches,
        epochs=unlearning_epochs,
        callbacks=[
            fine_tuning.step_decay(every=_UNLEARNING_DECAYS_EVERY),
            reconstructive_neuron_pruning.StopAtAccuracy(unlearned_accuracy),
            stop_on_nan,
        ],
        verbose=run.verbose,
    ).history
    recovery = reconstructive_neuron_pruning.NeuronRecovery(
        unlearned,
        alpha=alpha,
        precision=run.precision,
        synchronised=run.synchronised,
    )
    recovery.compile(optimizers.CoupledSGD(learning_rate, momentum=momentum))
    recovery_history = recovery.fit(
        batches, epochs=epochs, callbacks=[stop_on_nan], verbose=run.verbose
    ).history
    masks = recovery.neuron_masks()
    pruned = anp.prune(
        classifier,
        masks,
        judge,
        run,
        threshold=threshold,
        max_accuracy_drop=max_accuracy_drop,
    )
    chosen = pruned.chosen
    return result.DefenseResult(
        {"after RNP": pruned.classifier},
        {
            "unlearned_accuracy": unlearning_history["accuracy"][-1],
            "recovered_accuracy": recovery_history["accuracy"][-1],
            "threshold": chosen.threshold if chosen else threshold,
            "threshold_chosen_by": (
                "held-out clean accuracy" if threshold is None else "the user"
            ),
        },
        {"masks": masks, "curve": pruned.curve, "pruned": pruned.neurons},
    )
