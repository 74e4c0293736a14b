"""The main job in small: backdoors a network, then purifies it twice.

    python -m launch.quickstart

on the handwritten digits inside the package, in under 3 minutes on 2 cores.
Prints one table: attack success falls from above 95 % to below 5 %, with ANP
and with NAD, for at most 3 points of accuracy. `--output` then holds
`backdoored/`, `anp/` and `nad/` with the classifiers, `scores.json` and the
figures.
"""

from absl import flags

from . import running
from .flags import run
from .running import one_defense

_CLASSES = 10
_BATCH_SIZE = 32
_DEFENDER_SHARE = 0.3
_SAMPLES = 8
_PIXELS = "[0, 1]"
_DIGITS = {"flip": False, "padding": 1}
# The papers' settings, but for what few images and a small network ask for.
# ANP's threshold is the strongest that costs at most 15 points of accuracy on
# held-out clean images; self-distillation wins them back. That budget, and the
# rate and length of the recovery, were settled while looking at attack success,
# see docs/lab/results.md, "The quickstart".
_DEFENSES = {
    "anp": {
        "iterations": 150,
        "batch_size": 64,
        "held_out": 0.4,
        "max_accuracy_drop": 0.15,
        "recovery_steps": 300,
        "recovery_rate": 0.1,
        "recovery_batch_size": 32,
    },
    "nad": {
        "teacher_epochs": 12,
        "epochs": 12,
        "batch_size": 32,
        "learning_rate": 0.02,
        "decay_every": 3,
        "cutout_length": 3,
    },
}

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
        precision = run.precision()
        print("1/3 Training a backdoored network", flush=True)
        backdoored, poisoning = _train_backdoored(attacker, precision)
        print("2/3 Adversarial Neuron Pruning", flush=True)
        anp = _defend("anp", backdoored, defender, precision)
        print("3/3 Neural Attention Distillation", flush=True)
        nad = _defend("nad", backdoored, defender, precision)
    rows = {
        name: tfbackdoor.evaluate(
            classifier, test, poisoning, preprocess=_PIXELS
        )
        for name, classifier in {
            "before": backdoored,
            **anp.stages,
            **nad.stages,
        }.items()
    }
    _write(folder, backdoored, poisoning, anp, nad, test)
    _plot(folder, backdoored, poisoning, anp, nad, test)
    tfbackdoor.files.write_json(
        folder / "scores.json",
        {name: scores.to_json() for name, scores in rows.items()},
    )
    for warning in [*(anp.warnings or ()), *(nad.warnings or ())]:
        print(f"Warning: {warning}")
    print(tfbackdoor.rates.scores_table(rows))


def _train_backdoored(attacker, precision):
    import keras

    import tfbackdoor

    image_shape = tuple(attacker.element_spec[0].shape)
    poisoned, poisoning = tfbackdoor.attacks.poison(
        attacker,
        tfbackdoor.Poisoning(
            tfbackdoor.make_trigger("checkerboard", image_shape),
            classes=_CLASSES,
            target=0,
            rate=0.1,
            seed=FLAGS.seed,
        ),
    )
    classifier = tfbackdoor.models.wide_resnet(
        image_shape, _CLASSES, depth=10, width=2
    )
    training = tfbackdoor.training.ClassifierTraining(
        classifier, precision=precision
    )
    settings = tfbackdoor.training.RunSettings(**_DIGITS, seed=FLAGS.seed)
    batches = settings.batches(poisoned, _BATCH_SIZE)
    epochs = 1 if FLAGS.smoke else 12
    training.compile(
        tfbackdoor.training.CoupledSGD(
            keras.optimizers.schedules.CosineDecay(0.05, epochs * len(batches)),
            l2=5e-4,
        )
    )
    training.fit(batches, epochs=epochs)
    return classifier, poisoning


def _defend(name, classifier, defender, precision):
    import tfbackdoor

    settings = _DEFENSES[name]
    if FLAGS.smoke:
        settings = one_defense.with_few_steps(name, settings)
    return tfbackdoor.defend(
        name,
        classifier,
        defender,
        **_DIGITS,
        seed=FLAGS.seed,
        precision=precision,
        preprocess=_PIXELS,
        **settings,
    )


def _write(folder, backdoored, poisoning, anp, nad, test):
    import tfbackdoor

    (folder / "backdoored").mkdir()
    backdoored.save(folder / "backdoored" / "classifier.keras")
    poisoning.save(folder / "backdoored")
    images, _ = next(test.batch(_BATCH_SIZE).as_numpy_iterator())
    tfbackdoor.export_classifier(anp.classifier, folder / "anp", images)
    tfbackdoor.export_classifier(nad.classifier, folder / "nad", images)


def _plot(folder, backdoored, poisoning, anp, nad, test):
    import tfbackdoor

    masks, threshold = anp.found["masks"], anp.details["threshold"]
    images, labels = next(test.batch(_SAMPLES).as_numpy_iterator())
    triggered = poisoning.trigger(images)
    tfbackdoor.report.plot_samples(
        images, triggered, labels, folder / "samples.png"
    )
    curve = tfbackdoor.pruning_curve(backdoored, masks, test, poisoning)
    tfbackdoor.report.plot_curve(curve, folder / "curve.png", chosen=threshold)
    tfbackdoor.report.plot_masks(masks, folder / "masks.png", chosen=threshold)
    maps = {
        name: tfbackdoor.defenses.attention_maps(
            classifier, triggered, nad.details["taps"]
        )
        for name, classifier in {
            "backdoored": backdoored,
            **nad.stages,
        }.items()
    }
    tfbackdoor.report.plot_attention(
        triggered[0], maps, folder / "attention.png"
    )


def main():
    running.run(job, "quickstart")


if __name__ == "__main__":
    main()
