"""Purifies a classifier by Adversarial Neuron Pruning.

    python -m launch.anp --classifier=classifier.keras --dataset=cifar10 \\
        --data_dir=DIR

learns a mask for each neuron on 500 clean images, chooses the pruning
threshold on those of them held out, prunes, and writes the purified
`classifier.keras` and `saved_model/`, `neuron_masks.npz`, `scores.json`,
`curves.json` and figures to `--output`.
"""

from absl import flags

from . import running
from .flags import anp
from .flags import defense
from .flags import given
from .flags import pruning
from .flags import run
from .flags import training
from .running import one_defense

flags.DEFINE_string(
    "neuron_masks",
    None,
    "neuron_masks.npz of an earlier run on the same classifier and --seed, in "
    "place of learning them.",
)

FLAGS = flags.FLAGS
_TEST_CURVE_MARGIN = 0.02  # Of a curve that is only looked at.
for _concern in (defense, pruning, anp):
    flags.adopt_module_key_flags(_concern)
for _flag in (training.BATCH_SIZE, training.LEARNING_RATE):
    flags.declare_key_flag(_flag)


def job(folder):
    import tfbackdoor

    tfbackdoor.set_seed(FLAGS.seed)
    precision = run.precision()
    with tfbackdoor.make_strategy(FLAGS.strategy).scope():
        classifier, clean, test, poisoning = one_defense.load()
        outcome = one_defense.run(
            "anp", classifier, clean, precision=precision, **_settings()
        )
        rows = one_defense.score(classifier, outcome, test, poisoning)
    _print_choice(outcome)
    test_curve = tfbackdoor.pruning_curve(
        one_defense.adapted(classifier, outcome, test),
        outcome.found["masks"],
        test,
        poisoning,
        margin=_TEST_CURVE_MARGIN,
        precision=precision,
    )
    _write(folder, outcome, test_curve)
    one_defense.write(folder, classifier, outcome, rows, test)


def _settings():
    import tfbackdoor

    settings = given(pruning, anp, training)
    if FLAGS.neuron_masks:
        masks = tfbackdoor.files.read_arrays(FLAGS.neuron_masks)
        settings["neuron_masks"] = masks
    return settings


def _print_choice(outcome):
    count, total = (
        sum(map(len, outcome.found[name].values()))
        for name in ("pruned", "masks")
    )
    if count:
        threshold = outcome.details["threshold"]
        print(f"Pruned {count} of {total} neurons at threshold {threshold:g}")
    else:
        print("No threshold is safe within --max_accuracy_drop: none pruned")


def _write(folder, outcome, test_curve):
    """Writes the masks and the curves, as files and as figures."""
    import tfbackdoor

    masks, threshold = outcome.found["masks"], outcome.details["threshold"]
    tfbackdoor.defenses.save_masks(masks, folder / "neuron_masks.npz")
    tfbackdoor.report.plot_curve(
        test_curve, folder / "curve.png", chosen=threshold
    )
    tfbackdoor.report.plot_masks(masks, folder / "masks.png", chosen=threshold)
    curves = {"held_out": outcome.found["curve"], "test": test_curve}
    tfbackdoor.files.write_json(
        folder / "curves.json",
        {
            name: [point.to_json() for point in curve]
            for name, curve in curves.items()
        },
    )


def main():
    running.run(job, "anp", required=["classifier"])


if __name__ == "__main__":
    main()
