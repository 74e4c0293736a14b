"""Trains a backdoored classifier, to have something to purify.

    python -m launch.train --dataset=cifar10 --data_dir=DIR --epochs=200

trains ANP's BadNets ResNet-18: a checkerboard at the bottom right of 5 % of
the images outside class 0, on 90 % of the training images. `--output` then
holds `classifier.keras`, what was poisoned (`poisoning.json`,
`poisoned_indices.npz`, `trigger.npz`) and `scores.json`.
"""

from absl import flags

from launch import images
from launch import networks
from launch import runner

flags.DEFINE_string(
    "trigger", "checkerboard", "Name of a built-in trigger or an .npz file."
)
flags.DEFINE_integer("target", 0, "Class of the attacker (0 in ANP).")
flags.DEFINE_enum(
    "mode",
    "all_to_one",
    ["all_to_one", "all_to_all", "clean_label"],
    "How poisoned images are labelled.",
)
flags.DEFINE_float(
    "poisoning_rate", 0.05, "Share of eligible images (0.05 in ANP).", 0.0, 1.0
)
flags.DEFINE_float(
    "attacker_share",
    0.9,
    "Share of the training images that the attacker trains on; the defender's "
    "images come from the rest (0.9 in ANP).",
    0.0,
    1.0,
)
flags.DEFINE_integer("epochs", 200, "Epochs (200 in ANP).", 1)
flags.DEFINE_integer("batch_size", 128, "Images a step (128 in ANP).", 1)
flags.DEFINE_float("learning_rate", 0.1, "First learning rate (0.1).", 0.0)
flags.DEFINE_float("weight_decay", 5e-4, "Weight decay (5e-4 in ANP).", 0.0)
flags.DEFINE_enum(
    "schedule",
    "steps",
    ["steps", "cosine"],
    "steps divides the learning rate by 10 at 1/2 and 3/4 of the epochs, as "
    "ANP does; cosine is better for few epochs.",
)
flags.DEFINE_bool("flip", True, "Whether to mirror images at random.")


FLAGS = flags.FLAGS


def job(folder):
    import tfbackdoor

    tfbackdoor.set_seed(FLAGS.seed)
    train = images.load("train")
    test = images.load("test")
    attacker, _ = tfbackdoor.split_images(
        train, [FLAGS.attacker_share, 0], seed=FLAGS.seed
    )
    classes = tfbackdoor.count_classes(train)
    shape = tuple(train.element_spec[0].shape)
    poisoned, poisoning = tfbackdoor.poison(
        attacker,
        tfbackdoor.Poisoning(
            tfbackdoor.make_trigger(FLAGS.trigger, shape),
            classes=classes,
            target=FLAGS.target,
            mode=FLAGS.mode,
            rate=FLAGS.poisoning_rate,
            seed=FLAGS.seed,
        ),
    )
    batches = tfbackdoor.augment(
        tfbackdoor.training_batches(
            poisoned, FLAGS.batch_size, seed=FLAGS.seed
        ),
        flip=FLAGS.flip,
        seed=FLAGS.seed,
    )
    epochs = 1 if FLAGS.smoke else FLAGS.epochs
    with tfbackdoor.make_strategy(FLAGS.strategy).scope():
        classifier = networks.build(shape, classes)
        training = tfbackdoor.ClassifierTraining(
            classifier,
            precision=runner.precision(),
            synchronised=FLAGS.synchronised,
        )
        training.compile(optimizer=_optimizer(len(batches), epochs))
        training.fit(batches, epochs=epochs, callbacks=[tfbackdoor.StopOnNaN()])
    scores = tfbackdoor.evaluate(classifier, test, poisoning)
    print(f"Clean accuracy {scores.clean_accuracy}")
    print(f"Attack success {scores.attack_success}")
    classifier.save(folder / "classifier.keras")
    poisoning.save(folder)
    runner.write_json(folder / "scores.json", scores.to_json())


def _optimizer(steps_per_epoch, epochs):
    import keras

    import tfbackdoor

    steps = steps_per_epoch * epochs
    rate = FLAGS.learning_rate
    if FLAGS.schedule == "cosine":
        schedule = keras.optimizers.schedules.CosineDecay(
            rate / 10, steps, warmup_target=rate, warmup_steps=steps // 10
        )
    else:
        schedule = keras.optimizers.schedules.PiecewiseConstantDecay(
            [steps // 2, steps * 3 // 4], [rate, rate / 10, rate / 100]
        )
    return tfbackdoor.CoupledSGD(schedule, l2=FLAGS.weight_decay)


def main():
    runner.run(job, "train")


if __name__ == "__main__":
    main()
