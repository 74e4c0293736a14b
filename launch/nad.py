"""Purifies a classifier by Neural Attention Distillation.

    python -m launch.nad --classifier=classifier.keras --dataset=cifar10 \\
        --data_dir=DIR

fine-tunes a teacher on 2,500 clean images, distils its attention into the
classifier, and writes the purified `classifier.keras` and `saved_model/`,
`teacher.keras`, `scores.json` and figures to `--output`.
"""

from absl import flags

from . import running
from .flags import classifier as classifier_flags
from .flags import defense
from .flags import given
from .flags import nad
from .flags import numbers
from .flags import run
from .flags import training
from .running import one_defense

flags.DEFINE_string(
    "teacher", None, "Teacher .keras file, in place of fine-tuning one."
)
flags.DEFINE_list(
    "betas", None, "A weight for each tap; default 500,1000,1000."
)
flags.DEFINE_bool(
    "choose_learning_rate",
    False,
    "In place of --learning_rate takes the highest whose student is as "
    "accurate as its teacher on held-out clean images; several distillations.",
)

FLAGS = flags.FLAGS
for _concern in (defense, training, nad):
    flags.adopt_module_key_flags(_concern)


def job(folder):
    import tfbackdoor

    tfbackdoor.set_seed(FLAGS.seed)
    with tfbackdoor.make_strategy(FLAGS.strategy).scope():
        classifier, clean, test, poisoning = one_defense.load(2500)
        outcome = one_defense.run(
            "nad", classifier, clean, precision=run.precision(), **_settings()
        )
        rows = one_defense.score(classifier, outcome, test, poisoning)
    outcome.stages["teacher"].save(folder / "teacher.keras")
    _plot_attention(folder, classifier, outcome, test, poisoning)
    one_defense.write(folder, classifier, outcome, rows, test)


def _settings():
    settings = given(training, nad)
    if FLAGS.teacher:
        settings["teacher"] = classifier_flags.load(FLAGS.teacher)
    if FLAGS.betas:
        settings["betas"] = numbers.several("betas", FLAGS.betas)
    if FLAGS.choose_learning_rate:
        settings["learning_rate"] = None
    if not FLAGS.augment:
        settings["cutout_holes"] = 0
    return settings


def _plot_attention(folder, classifier, outcome, test, poisoning):
    import tfbackdoor

    image = next(test.batch(1).as_numpy_iterator())[0]
    if poisoning is not None:
        image = poisoning.trigger(image)
    maps = {
        name: tfbackdoor.defenses.attention_maps(
            one_defense.adapted(stage, outcome, test),
            image,
            outcome.details["taps"],
        )
        for name, stage in {"before": classifier, **outcome.stages}.items()
    }
    tfbackdoor.report.plot_attention(image[0], maps, folder / "attention.png")


def main():
    running.run(job, "nad", required=["classifier"])


if __name__ == "__main__":
    main()
