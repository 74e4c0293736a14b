"""The main job in small: backdoors a network, then purifies it twice.

    python -m launch.quickstart

on the handwritten digits inside the package, in under 3 minutes on 2 cores.
Prints one table: attack success falls from above 95 % to below 5 %, with ANP
and with NAD, for at most 3 points of accuracy. `--output` then holds
`backdoored/`, `anp/` and `nad/` with the classifiers, `scores.json` and the
figures.
"""

from absl import flags

from launch import runner

_CLASSES = 10
_BATCH_SIZE = 32
_DEFENDER_SHARE = 0.3
_DECAY_EVERY = 3
_SAMPLES = 8


FLAGS = flags.FLAGS


def job(folder):
    import tfbackdoor

    tfbackdoor.set_seed(FLAGS.seed)
    test = tfbackdoor.in_memory(tfbackdoor.load_images("digits", "test"))
    attacker, defender = map(
        tfbackdoor.in_memory,
        tfbackdoor.split_images(
            tfbackdoor.load_images("digits", "train"),
            [1.0 - _DEFENDER_SHARE, _DEFENDER_SHARE],
            seed=FLAGS.seed,
        ),
    )
    with tfbackdoor.make_strategy(FLAGS.strategy).scope():
        precision = runner.precision()
        print("1/3 Training a backdoored network", flush=True)
        backdoored, poisoning = _train_backdoored(attacker, precision)
        print("2/3 Adversarial Neuron Pruning", flush=True)
        pruned = tfbackdoor.copy_classifier(backdoored)
        masks, threshold, zeroed = _prune(pruned, defender, precision)
        recovered = _recover(pruned, backdoored, zeroed, defender, precision)
        print("3/3 Neural Attention Distillation", flush=True)
        distilled = tfbackdoor.copy_classifier(backdoored)
        nad = _distil(distilled, defender, precision)
    rows = {
        name: tfbackdoor.evaluate(classifier, test, poisoning)
        for name, classifier in {
            "before": backdoored,
            "ANP": pruned,
            "ANP, recovered": recovered,
            "NAD teacher": nad.teacher,
            "NAD": distilled,
        }.items()
    }
    _write(folder, backdoored, poisoning, recovered, distilled, test)
    _plot(folder, backdoored, poisoning, masks, threshold, nad, test)
    runner.write_json(
        folder / "scores.json",
        {name: scores.to_json() for name, scores in rows.items()},
    )
    print(tfbackdoor.scores_table(rows))


def _batches(
    images, *, batch_size=_BATCH_SIZE, replacement=False, cutout_holes=0
):
    """Training batches cropped by a pixel; digits must not be mirrored."""
    import tfbackdoor

    return tfbackdoor.augment(
        tfbackdoor.training_batches(
            images, batch_size, seed=FLAGS.seed, replacement=replacement
        ),
        padding=1,
        flip=False,
        cutout_holes=cutout_holes,
        cutout_length=3,
        seed=FLAGS.seed,
    )


def _train_backdoored(attacker, precision):
    import keras

    import tfbackdoor

    image_shape = tuple(attacker.element_spec[0].shape)
    poisoned, poisoning = tfbackdoor.poison(
        attacker,
        tfbackdoor.Poisoning(
            tfbackdoor.make_trigger("checkerboard", image_shape),
            classes=_CLASSES,
            target=0,
            rate=0.1,
            seed=FLAGS.seed,
        ),
    )
    classifier = tfbackdoor.wide_resnet(
        image_shape, _CLASSES, depth=10, width=2
    )
    training = tfbackdoor.ClassifierTraining(classifier, precision=precision)
    batches = _batches(poisoned)
    epochs = 1 if FLAGS.smoke else 12
    training.compile(
        tfbackdoor.CoupledSGD(
            keras.optimizers.schedules.CosineDecay(0.05, epochs * len(batches)),
            l2=5e-4,
        )
    )
    training.fit(batches, epochs=epochs)
    return classifier, poisoning


def _prune(classifier, defender, precision):
    """ANP with the paper's settings; prunes `classifier` in place.

    The threshold is the strongest that costs at most 15 points of accuracy on
    held-out clean images; self-distillation wins them back.
    """
    import tfbackdoor

    optimise, judge = tfbackdoor.split_images(
        defender, [0.6, 0.4], seed=FLAGS.seed
    )
    anp = tfbackdoor.AdversarialNeuronPruning(
        classifier, seed=FLAGS.seed, precision=precision
    )
    anp.compile()
    anp.fit(
        _batches(optimise, batch_size=2 * _BATCH_SIZE, replacement=True),
        steps_per_epoch=20 if FLAGS.smoke else 150,
    )
    masks = anp.neuron_masks()
    curve = tfbackdoor.pruning_curve(classifier, masks, judge)
    chosen = tfbackdoor.choose_threshold(curve, max_accuracy_drop=0.15)
    pruned = tfbackdoor.prune_neurons(classifier, masks, number=chosen.pruned)
    return masks, chosen.threshold, pruned


def _recover(pruned_classifier, original, pruned, defender, precision):
    """Self-distillation: wins back what pruning cost."""
    import tfbackdoor

    return tfbackdoor.recover(
        pruned_classifier,
        original,
        _batches(defender, replacement=True),
        pruned,
        steps=20 if FLAGS.smoke else 300,
        learning_rate=0.1,
        precision=precision,
    )


def _epochs():
    return 2 if FLAGS.smoke else 12


def _distil(student, defender, precision):
    """NAD, its teacher fine-tuned on the way."""
    import tfbackdoor

    nad = tfbackdoor.NeuralAttentionDistillation(
        student,
        taps=["group1", "group2", "group3"],
        teacher_epochs=_epochs(),
        precision=precision,
    )
    nad.compile(tfbackdoor.CoupledSGD(0.02, nesterov=True, l2=1e-4))
    nad.fit(
        _batches(defender, cutout_holes=1),
        epochs=_epochs(),
        decay_every=_DECAY_EVERY,
    )
    return nad


def _write(folder, backdoored, poisoning, recovered, distilled, test):
    import tfbackdoor

    (folder / "backdoored").mkdir()
    backdoored.save(folder / "backdoored" / "classifier.keras")
    poisoning.save(folder / "backdoored")
    images, _ = next(test.batch(_BATCH_SIZE).as_numpy_iterator())
    tfbackdoor.export_classifier(recovered, folder / "anp", images)
    tfbackdoor.export_classifier(distilled, folder / "nad", images)


def _plot(folder, backdoored, poisoning, masks, threshold, nad, test):
    import tfbackdoor

    images, labels = next(test.batch(_SAMPLES).as_numpy_iterator())
    triggered = poisoning.trigger(images)
    tfbackdoor.plot_samples(images, triggered, labels, folder / "samples.png")
    curve = tfbackdoor.pruning_curve(backdoored, masks, test, poisoning)
    tfbackdoor.plot_curve(curve, folder / "curve.png", chosen=threshold)
    tfbackdoor.plot_masks(masks, folder / "masks.png", chosen=threshold)
    maps = {
        name: tfbackdoor.attention_maps(classifier, triggered, nad.taps)
        for name, classifier in {
            "backdoored": backdoored,
            "teacher": nad.teacher,
            "purified": nad.student,
        }.items()
    }
    tfbackdoor.plot_attention(triggered[0], maps, folder / "attention.png")


def main():
    runner.run(job, "quickstart")


if __name__ == "__main__":
    main()
