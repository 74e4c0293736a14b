"""Purifies a classifier by Adversarial Neuron Pruning.

    python -m launch.anp --classifier=classifier.keras --dataset=cifar10 \\
        --data_dir=DIR

learns a mask for each neuron on 500 clean images, chooses the pruning
threshold on those of them held out, prunes, and writes the purified
`classifier.keras` and `saved_model/`, `neuron_masks.npz`, `scores.json`,
`curves.json` and figures to `--output`.
"""

from absl import flags

from launch import defense
from launch import recipe
from launch import runner

flags.DEFINE_integer(
    "clean_images", 500, "Clean images to use (500 in the paper).", 2
)
flags.DEFINE_float(
    "held_out", 0.2, "Share of them that judges thresholds.", 0.01, 0.9
)
flags.DEFINE_float(
    "epsilon", 0.4, "Largest relative perturbation (0.4 in the paper).", 0.0
)
flags.DEFINE_float(
    "alpha", 0.2, "Weight of the clean loss (0.2 in the paper).", 0.0, 1.0
)
flags.DEFINE_integer("steps", 1, "Perturbation steps a batch (1).", 1)
flags.DEFINE_integer("iterations", 2000, "Batches (2000 in the paper).", 1)
flags.DEFINE_integer("batch_size", 128, "Images a batch (128).", 1)
flags.DEFINE_float("learning_rate", 0.2, "SGD on the masks (0.2).", 0.0)
flags.DEFINE_float("momentum", 0.9, "Momentum of that SGD (0.9).", 0.0, 1.0)
flags.DEFINE_float(
    "max_accuracy_drop",
    0.03,
    "Accuracy on the held-out clean images that pruning may cost.",
    0.0,
    1.0,
)
flags.DEFINE_float(
    "threshold", None, "Pruning threshold, in place of choosing it.", 0.0, 1.0
)
flags.DEFINE_string(
    "neuron_masks",
    None,
    "neuron_masks.npz of an earlier run on the same classifier and --seed, in "
    "place of learning them.",
)
flags.DEFINE_integer(
    "recovery_steps",
    0,
    "Batches of self-distillation afterwards, which win accuracy back (none in "
    "the paper; 300 allow a --max_accuracy_drop of 0.15).",
    0,
)
flags.DEFINE_float(
    "recovery_rate", 0.01, "Its learning rate at the start.", 0.0
)
flags.DEFINE_integer("recovery_batch_size", 64, "Images in its batches.", 1)


FLAGS = flags.FLAGS
_SETTINGS = (
    "epsilon",
    "alpha",
    "steps",
    "iterations",
    "batch_size",
    "learning_rate",
    "momentum",
    "held_out",
    "max_accuracy_drop",
    "threshold",
    "recovery_steps",
    "recovery_rate",
    "recovery_batch_size",
    "synchronised",
)
_TEST_CURVE_MARGIN = 0.02  # Of a curve that is only looked at.


def job(folder):
    import tfbackdoor

    tfbackdoor.set_seed(FLAGS.seed)
    strategy = tfbackdoor.make_strategy(FLAGS.strategy)
    precision = runner.precision()
    with strategy.scope():
        classifier = defense.load_classifier()
        test, poisoning = defense.load_test(classifier)
        clean = defense.load_clean_images(classifier)
        outcome = recipe.run(
            "anp",
            classifier,
            clean,
            neuron_masks=FLAGS.neuron_masks
            and tfbackdoor.files.read_arrays(FLAGS.neuron_masks),
            precision=precision,
            **{name: FLAGS[name].value for name in _SETTINGS},
        )
        rows = recipe.score(classifier, outcome, test, poisoning)
    masks = outcome.found["masks"]
    _print_choice(masks, outcome.found["pruned"], outcome.details["threshold"])
    test_curve = tfbackdoor.pruning_curve(
        classifier,
        masks,
        test,
        poisoning,
        margin=_TEST_CURVE_MARGIN,
        precision=precision,
    )
    _write(folder, outcome, test_curve)
    defense.write_results(
        folder, outcome.classifier, rows, test, outcome.details
    )


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
    runner.write_json(
        folder / "curves.json",
        {
            name: [point.to_json() for point in curve]
            for name, curve in curves.items()
        },
    )


def _print_choice(masks, pruned, threshold):
    count, total = (sum(map(len, x.values())) for x in (pruned, masks))
    if count:
        print(f"Pruned {count} of {total} neurons at threshold {threshold:g}")
    else:
        print("No threshold is safe within --max_accuracy_drop: none pruned")


def main():
    runner.run(job, "anp")


if __name__ == "__main__":
    main()
