"""i-BAU: rounds of a worst perturbation and its unlearning."""

import keras

from tfbackdoor.defenses import implicit_unlearning
from tfbackdoor.defenses import result
from tfbackdoor.defenses import universal_perturbation
from tfbackdoor.network import copying
from tfbackdoor.training import classifier_training


def by_i_bau(
    classifier,
    clean,
    run,
    *,
    rounds: int = 5,
    batch_size: int = 100,
    learning_rate: float = 1e-3,
    norm: float = 10.0,
    penalty: float = 1e-3,
    perturbation_rate: float = 10.0,
    share: float = 0.01,
    step_size: float = 0.1,
    fixed_point_steps: int = 5,
) -> result.DefenseResult:
    """i-BAU (Zeng et al. 2022); see `ImplicitUnlearning`.

    A round is an epoch that searches a perturbation, and one that unlearns it.

    Args:
        classifier: see `defend`.
        clean: see `defend`.
        run: the other arguments of `defend`.
        rounds: int > 0 (5).
        batch_size: int > 0 (100).
        learning_rate: float > 0, of Adam on the weights (0.001).
        norm, penalty: see `UniversalPerturbation`.
        perturbation_rate: float > 0, of SGD on the perturbation (10).
        share, step_size, fixed_point_steps: see `ImplicitUnlearning`.
    """
    batches = run.batches(clean, batch_size)
    tuned = copying.copy_classifier(classifier)
    perturbation = universal_perturbation.UniversalPerturbation(
        tuned, norm=norm, penalty=penalty, precision=run.precision
    )
    perturbation.compile(keras.optimizers.SGD(perturbation_rate))
    unlearning = implicit_unlearning.ImplicitUnlearning(
        tuned,
        perturbation,
        share=share,
        step_size=step_size,
        fixed_point_steps=fixed_point_steps,
        precision=run.precision,
        synchronised=run.synchronised,
        train_frozen=run.train_frozen,
    )
    unlearning.compile(keras.optimizers.Adam(learning_rate))
    for _ in range(rounds):
        perturbation.restart()
        for half in (perturbation, unlearning):
            half.fit(
                batches,
                callbacks=[classifier_training.StopOnNaN()],
                verbose=run.verbose,
            )
    return result.DefenseResult({"after i-BAU": tuned})
