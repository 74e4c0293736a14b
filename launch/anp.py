"""Purifies a classifier by Adversarial Neuron Pruning.

    python -m launch.anp --classifier=classifier.keras --dataset=cifar10 \\
        --data_dir=DIR

learns a mask for each neuron on 500 clean images, chooses the pruning
threshold on those of them held out, prunes, and writes the purified
`classifier.keras` and `saved_model/`, `neuron_masks.npz`, `scores.json`,
`curves.json` and figures to `--output`.
"""

from absl import flags

from launch import defence
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
flags.DEFINE_bool("augment", True, "Random crop and flip (as in the paper).")
flags.DEFINE_bool("flip", True, "Whether augmenting mirrors images.")
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


FLAGS = flags.FLAGS
_ITERATIONS_PER_EPOCH = 100
_RECOVERY_BATCH_SIZE = 64
_TEST_CURVE_MARGIN = 0.02  # Of a curve that is only looked at.


def job(folder):
    import tfbackdoor

    tfbackdoor.set_seed(FLAGS.seed)
    strategy = tfbackdoor.make_strategy(FLAGS.strategy)
    precision = runner.precision()
    with strategy.scope():
        classifier = defence.load_classifier()
        test, poisoning = defence.load_test(classifier)
        optimise, judge = defence.load_clean(classifier, FLAGS.held_out)
        original = tfbackdoor.copy_classifier(classifier)
        rows = {"before": tfbackdoor.evaluate(classifier, test, poisoning)}
        masks = _learn_masks(classifier, optimise, precision)
    held_out_curve, test_curve = (
        tfbackdoor.pruning_curve(
            classifier,
            masks,
            images,
            attack,
            margin=margin,
            precision=precision,
        )
        for images, attack, margin in (
            (judge, None, 0.0),
            (test, poisoning, _TEST_CURVE_MARGIN),
        )
    )
    pruned, threshold = _prune(classifier, masks, held_out_curve)
    rows["after ANP"] = tfbackdoor.evaluate(classifier, test, poisoning)
    if FLAGS.recovery_steps:
        with strategy.scope():
            classifier = _recover(
                classifier, original, optimise, pruned, precision
            )
        rows["recovered"] = tfbackdoor.evaluate(classifier, test, poisoning)
    _write(folder, masks, held_out_curve, test_curve, threshold)
    defence.write_results(
        folder,
        classifier,
        rows,
        test,
        {
            "threshold": threshold,
            "threshold_chosen_by": "held-out clean accuracy"
            if FLAGS.threshold is None
            else "the user",
        },
    )


def _write(folder, masks, held_out_curve, test_curve, threshold):
    """Writes the masks and the curves, as files and as figures."""
    import tfbackdoor

    tfbackdoor.save_masks(masks, folder / "neuron_masks.npz")
    tfbackdoor.plot_curve(test_curve, folder / "curve.png", chosen=threshold)
    tfbackdoor.plot_masks(masks, folder / "masks.png", chosen=threshold)
    curves = {"held_out": held_out_curve, "test": test_curve}
    runner.write_json(
        folder / "curves.json",
        {
            name: [point.to_json() for point in curve]
            for name, curve in curves.items()
        },
    )


def _prune(classifier, masks, held_out_curve):
    """Prunes at the threshold of the flags, or one chosen on clean images."""
    import tfbackdoor

    threshold = FLAGS.threshold
    if threshold is None:
        chosen = tfbackdoor.choose_threshold(
            held_out_curve, max_accuracy_drop=FLAGS.max_accuracy_drop
        )
        threshold = chosen.threshold
        pruned = tfbackdoor.prune_neurons(
            classifier, masks, number=chosen.pruned
        )
    else:
        pruned = tfbackdoor.prune_neurons(
            classifier, masks, threshold=threshold
        )
    count, total = (sum(map(len, x.values())) for x in (pruned, masks))
    if count:
        print(f"Pruned {count} of {total} neurons at threshold {threshold:g}")
    else:
        print("No threshold is safe within --max_accuracy_drop: none pruned")
    return pruned, threshold


def _recover(pruned_classifier, original, clean, pruned, precision):
    """Wins back on clean images what pruning cost."""
    import tfbackdoor

    return tfbackdoor.recover(
        pruned_classifier,
        original,
        _batches(clean, _RECOVERY_BATCH_SIZE),
        pruned,
        steps=5 if FLAGS.smoke else FLAGS.recovery_steps,
        learning_rate=FLAGS.recovery_rate,
        precision=precision,
    )


def _batches(clean, batch_size):
    """Augmented batches drawn with replacement."""
    import tfbackdoor

    batches = tfbackdoor.training_batches(
        clean, batch_size, seed=FLAGS.seed, replacement=True
    )
    if not FLAGS.augment:
        return batches
    return tfbackdoor.augment(batches, flip=FLAGS.flip, seed=FLAGS.seed)


def _learn_masks(classifier, clean, precision):
    """The masks of `--neuron_masks`, or those that ANP learns."""
    import tfbackdoor

    if FLAGS.neuron_masks:
        return tfbackdoor.read_arrays(FLAGS.neuron_masks)
    anp = tfbackdoor.AdversarialNeuronPruning(
        classifier,
        epsilon=FLAGS.epsilon,
        alpha=FLAGS.alpha,
        steps=FLAGS.steps,
        seed=FLAGS.seed,
        precision=precision,
        synchronised=FLAGS.synchronised,
    )
    anp.compile(
        tfbackdoor.CoupledSGD(FLAGS.learning_rate, momentum=FLAGS.momentum)
    )
    iterations = 10 if FLAGS.smoke else FLAGS.iterations
    per_epoch = min(_ITERATIONS_PER_EPOCH, iterations)
    anp.fit(
        _batches(clean, FLAGS.batch_size),
        steps_per_epoch=per_epoch,
        epochs=-(-iterations // per_epoch),
        callbacks=[tfbackdoor.StopOnNaN()],
    )
    return anp.neuron_masks()


def main():
    runner.run(job, "anp")


if __name__ == "__main__":
    main()
