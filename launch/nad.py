"""Purifies a classifier by Neural Attention Distillation.

    python -m launch.nad --classifier=classifier.keras --dataset=cifar10 \\
        --data_dir=DIR

fine-tunes a teacher on 2,500 clean images, distils its attention into the
classifier, and writes the purified `classifier.keras` and `saved_model/`,
`teacher.keras`, `scores.json` and figures to `--output`.
"""

from absl import flags

from launch import defense
from launch import recipe
from launch import runner

flags.DEFINE_integer(
    "clean_images", 2500, "Clean images to use (2500 in the paper).", 2
)
flags.DEFINE_string(
    "teacher", None, "Teacher .keras file, in place of fine-tuning one."
)
flags.DEFINE_integer("teacher_epochs", 10, "Epochs of the teacher (5-10).", 1)
flags.DEFINE_integer("epochs", 10, "Epochs of distillation (10).", 1)
flags.DEFINE_integer("batch_size", 64, "Images a step (64 in the paper).", 1)
flags.DEFINE_float("learning_rate", 0.1, "First learning rate (0.1).", 0.0)
flags.DEFINE_bool(
    "choose_learning_rate",
    False,
    "In place of --learning_rate takes the highest whose student is as "
    "accurate as its teacher on held-out clean images; several distillations.",
)
flags.DEFINE_integer(
    "folds",
    2,
    "Parts of the clean images, each judged by what the others taught.",
    2,
)
flags.DEFINE_float("decay_factor", 0.1, "What multiplies it ...", 0.0, 1.0)
flags.DEFINE_integer("decay_every", 2, "... after so many epochs (2).", 1)
flags.DEFINE_float("weight_decay", 1e-4, "Weight decay (1e-4).", 0.0)
flags.DEFINE_list(
    "taps",
    None,
    "Layers whose attention is distilled, from high to low resolution; "
    "default the last residual sum, or feature map, of each of the three "
    "smallest resolutions.",
)
flags.DEFINE_list(
    "betas", None, "A weight for each tap; default 500,1000,1000."
)
flags.DEFINE_float("power", 2.0, "p of the attention maps (2).", 0.0)
flags.DEFINE_integer("cutout_holes", 1, "Holes of Cutout (1).", 0)
flags.DEFINE_integer("cutout_length", 9, "Side of a hole, pixels (9).", 1)


FLAGS = flags.FLAGS
_SETTINGS = (
    "taps",
    "power",
    "teacher_epochs",
    "epochs",
    "batch_size",
    "folds",
    "decay_factor",
    "decay_every",
    "weight_decay",
    "cutout_length",
    "synchronised",
)


def job(folder):
    import tfbackdoor

    tfbackdoor.set_seed(FLAGS.seed)
    with tfbackdoor.make_strategy(FLAGS.strategy).scope():
        classifier = defense.load_classifier()
        test, poisoning = defense.load_test(classifier)
        outcome = recipe.run(
            "nad",
            classifier,
            defense.load_clean_images(classifier),
            teacher=FLAGS.teacher and defense.load_classifier(FLAGS.teacher),
            learning_rate=(
                None if FLAGS.choose_learning_rate else FLAGS.learning_rate
            ),
            betas=FLAGS.betas and [float(beta) for beta in FLAGS.betas],
            cutout_holes=FLAGS.cutout_holes if FLAGS.augment else 0,
            precision=runner.precision(),
            **{name: FLAGS[name].value for name in _SETTINGS},
        )
        rows = recipe.score(classifier, outcome, test, poisoning)
    outcome.stages["teacher"].save(folder / "teacher.keras")
    _plot_attention(folder, classifier, outcome, test, poisoning)
    defense.write_results(
        folder, outcome.classifier, rows, test, outcome.details
    )


def _plot_attention(folder, classifier, outcome, test, poisoning):
    import tfbackdoor

    image = next(test.batch(1).as_numpy_iterator())[0]
    if poisoning is not None:
        image = poisoning.trigger(image)
    maps = {
        name: tfbackdoor.defenses.attention_maps(
            stage, image, outcome.details["taps"]
        )
        for name, stage in {"before": classifier, **outcome.stages}.items()
    }
    tfbackdoor.report.plot_attention(image[0], maps, folder / "attention.png")


def main():
    runner.run(job, "nad")


if __name__ == "__main__":
    main()
