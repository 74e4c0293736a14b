"""The defences that both papers compare with, by their settings."""

from tfbackdoor import optimizers
from tfbackdoor import training
from tfbackdoor.defenses import conditions as conditions_module
from tfbackdoor.defenses import fine_pruning
from tfbackdoor.defenses import fine_tuning
from tfbackdoor.defenses import mode_connectivity

_ENDS = ("fine_tuned", "backdoored")


def by_fine_tuning(
    classifier,
    clean,
    conditions,
    *,
    epochs: int = 10,
    batch_size: int = 64,
    learning_rate: float = 0.1,
    decay_factor: float = 0.1,
    decay_every: int = 2,
    weight_decay: float = 1e-4,
    cutout_holes: int = 1,
    cutout_length: int = 9,
    held_out: float = 0.0,
) -> conditions_module.Defended:
    """All weights fine-tuned, as NAD's teacher is (Li et al. 2021).

    Args:
        classifier: see `defend`.
        clean: see `defend`.
        conditions: the other arguments of `defend`.
        epochs: int > 0 (5 to 10 in NAD).
        batch_size: int > 0 (64).
        learning_rate: float > 0 at the start (0.1).
        decay_factor: float in (0, 1], what multiplies it (0.1) ...
        decay_every: int > 0, ... after so many epochs (2).
        weight_decay: float >= 0 (1e-4).
        cutout_holes: int >= 0, holes of Cutout (1).
        cutout_length: int > 0, their side in pixels (9).
        held_out: float in [0, 1), share of the clean images by whose accuracy
            the best epoch is kept; 0 keeps the last.
    """
    validation = None
    if held_out:
        clean, judge = conditions.hold_out(clean, held_out)
        validation = judge.batch(256)
    tuned = fine_tuning.fine_tune(
        classifier,
        conditions.batches(
            clean,
            batch_size,
            cutout_holes=cutout_holes,
            cutout_length=cutout_length,
        ),
        validation=validation,
        epochs=conditions.epochs(epochs),
        optimizer=fine_tuning.paper_optimizer(learning_rate, weight_decay),
        decay_factor=decay_factor,
        decay_every=decay_every,
        precision=conditions.precision,
        verbose=conditions.verbose,
    )
    return conditions_module.Defended({"after fine-tuning": tuned})


def by_fine_pruning(
    classifier,
    clean,
    conditions,
    *,
    layer: str | None = None,
    max_accuracy_drop: float = 0.04,
    held_out: float = 0.2,
    epochs: int = 10,
    batch_size: int = 64,
    learning_rate: float = 0.01,
    decay_factor: float = 1.0,
    decay_every: int = 2,
    weight_decay: float = 1e-4,
) -> conditions_module.Defended:
    """Fine-Pruning (Liu et al. 2018); see `prune_dormant`.

    Args:
        classifier: see `defend`.
        clean: see `defend`.
        conditions: the other arguments of `defend`.
        layer: name of the layer to prune, default the last convolution.
        max_accuracy_drop: float in [0, 1], held-out accuracy that pruning may
            cost (0.04).
        held_out: float in (0, 1), share of the clean images that judges.
        epochs: int > 0, of fine-tuning.
        batch_size: int > 0.
        learning_rate: float > 0, lower than in fine-tuning alone.
        decay_factor: float in (0, 1], see `step_decay`.
        decay_every: int > 0, see `step_decay`.
        weight_decay: float >= 0.
    """
    optimise, judge = conditions.hold_out(clean, held_out)
    found = fine_pruning.prune_dormant(
        classifier,
        optimise,
        judge,
        layer=layer,
        max_accuracy_drop=max_accuracy_drop,
        precision=conditions.precision,
    )
    tuned = fine_tuning.fine_tune(
        found.classifier,
        conditions.batches(optimise, batch_size),
        epochs=conditions.epochs(epochs),
        optimizer=fine_tuning.paper_optimizer(learning_rate, weight_decay),
        decay_factor=decay_factor,
        decay_every=decay_every,
        pruned=found.pruned,
        precision=conditions.precision,
        verbose=conditions.verbose,
    )
    return conditions_module.Defended(
        {"pruned": found.classifier, "after fine-pruning": tuned},
        {"layer": found.layer, "pruned_channels": found.chosen.pruned},
        {"curve": found.curve, "pruned": found.pruned},
    )


def by_mode_connectivity(
    classifier,
    clean,
    conditions,
    *,
    ends: str = "fine_tuned",
    end_settings: dict | None = None,
    epochs: int = 100,
    batch_size: int = 128,
    learning_rate: float = 0.01,
    l2: float = 1e-4,
    held_out: float = 0.2,
    points=mode_connectivity.POINTS,
    max_accuracy_drop: float = 0.03,
    t: float | None = None,
) -> conditions_module.Defended:
    """Mode Connectivity Repair (Zhao et al. 2020); see `BezierCurve`.

    Args:
        classifier: see `defend`.
        clean: see `defend`.
        conditions: the other arguments of `defend`.
        ends: `"fine_tuned"`, both end points are the classifier fine-tuned, on
            other draws of the clean images each (as ANP and NAD compare); or
            `"backdoored"`, the start is the classifier itself.
        end_settings: dict of settings of `by_fine_tuning` for the ends.
        epochs: int > 0, of the curve (100).
        batch_size: int > 0 (128).
        learning_rate: float > 0 (0.01).
        l2: float >= 0, weight decay of the points (1e-4).
        held_out: float in (0, 1), share of the clean images that judges.
        points: floats in [0, 1], where the curve is read.
        max_accuracy_drop: float in [0, 1], see `choose_point`.
        t: float in [0, 1], in place of choosing one; nothing is held out then.
    """
    if ends not in _ENDS:
        raise ValueError(
            f"`ends` must be one of {_ENDS}. Received: ends={ends!r}"
        )
    optimise, judge = clean, None
    if t is None:
        optimise, judge = conditions.hold_out(clean, held_out)
    seeds = (conditions.seed, conditions.seed + 1)
    tuned = [
        by_fine_tuning(
            classifier,
            optimise,
            conditions.reseeded(seed),
            **(end_settings or {}),
        ).classifier
        for seed in seeds[: 1 if ends == "backdoored" else 2]
    ]
    start = classifier if ends == "backdoored" else tuned[-1]
    curve = mode_connectivity.BezierCurve(
        start,
        tuned[0],
        l2=l2,
        seed=conditions.seed,
        precision=conditions.precision,
    )
    curve.compile(optimizers.CoupledSGD(learning_rate))
    epochs = conditions.epochs(epochs)
    curve.fit(
        conditions.batches(optimise, batch_size),
        epochs=epochs,
        callbacks=[
            mode_connectivity.learning_rate_schedule(epochs),
            training.StopOnNaN(),
        ],
        shuffle=False,
        verbose=conditions.verbose,
    )
    scores = {}
    if t is None:
        scores = mode_connectivity.read_curve(
            curve, optimise, judge, points=points
        )
        t = mode_connectivity.choose_point(
            scores, max_accuracy_drop=max_accuracy_drop
        )
    repaired = curve.classifier_at(t, optimise.batch(256))
    return conditions_module.Defended(
        {"fine-tuned": tuned[0], "after mode connectivity": repaired},
        {"t": t, "ends": ends},
        {"curve": curve, "scores": scores},
    )
