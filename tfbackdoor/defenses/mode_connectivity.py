"""Mode Connectivity Repair: a point between two networks is free of both."""

from tfbackdoor.defenses import bezier_curve
from tfbackdoor.defenses import fine_tuning
from tfbackdoor.defenses import result
from tfbackdoor.training import classifier_training
from tfbackdoor.training import optimizers

_ENDS = ("fine_tuned", "backdoored")


def by_mode_connectivity(
    classifier,
    clean,
    run,
    *,
    ends: str = "fine_tuned",
    end_settings: dict | None = None,
    epochs: int = 100,
    batch_size: int = 128,
    learning_rate: float = 0.01,
    l2: float = 1e-4,
    held_out: float = 0.2,
    points=bezier_curve.POINTS,
    max_accuracy_drop: float = 0.03,
    t: float | None = None,
) -> result.DefenseResult:
    """Mode Connectivity Repair (Zhao et al. 2020); see `BezierCurve`.

    Args:
        classifier: see `defend`.
        clean: see `defend`.
        run: the other arguments of `defend`.
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
        optimise, judge, run = run.hold_out(clean, held_out)
    seeds = (run.seed, run.seed + 1)
    tuned = [
        fine_tuning.by_fine_tuning(
            classifier,
            optimise,
            run.reseeded(seed),
            **(end_settings or {}),
        ).classifier
        for seed in seeds[: 1 if ends == "backdoored" else 2]
    ]
    start = classifier if ends == "backdoored" else tuned[-1]
    curve = bezier_curve.BezierCurve(
        start,
        tuned[0],
        l2=l2,
        seed=run.seed,
        precision=run.precision,
        train_frozen=run.train_frozen,
    )
    curve.compile(optimizers.CoupledSGD(learning_rate))
    curve.fit(
        run.batches(optimise, batch_size),
        epochs=epochs,
        callbacks=[
            bezier_curve.learning_rate_schedule(epochs),
            classifier_training.StopOnNaN(),
        ],
        shuffle=False,
        verbose=run.verbose,
    )
    scores = {}
    if t is None:
        scores = bezier_curve.read_curve(curve, optimise, judge, points=points)
        t = bezier_curve.choose_point(
            scores, max_accuracy_drop=max_accuracy_drop
        )
    repaired = curve.classifier_at(t, optimise.batch(256))
    return result.DefenseResult(
        {"fine-tuned": tuned[0], "after mode connectivity": repaired},
        {"t": t, "ends": ends},
        {"curve": curve, "scores": scores},
    )
