"""Purifies a classifier by any defense of the papers, for comparison.

    python -m launch.defend --defense=fine_pruning \\
        --classifier=classifier.keras --dataset=cifar10 --data_dir=DIR

runs the defense with its paper's settings on 2,500 clean images, 5 % of
CIFAR-10, all choices made from clean images, and writes the purified
`classifier.keras` and `saved_model/` and `scores.json` to `--output`.
"""

from absl import flags

from launch import defense
from launch import defense_settings
from launch import recipe
from launch import runner

flags.DEFINE_string(
    "defense",
    None,
    "fine_tuning, fine_pruning, mode_connectivity, nad or anp.",
    required=True,
)
flags.DEFINE_integer("clean_images", 2500, "Clean images to use (2500).", 2)
flags.DEFINE_multi_string(
    "setting",
    [],
    "NAME=VALUE, a setting of the defense in place of its paper's, such as "
    "epochs=5; may be given several times.",
)


FLAGS = flags.FLAGS


def job(folder):
    import tfbackdoor

    tfbackdoor.set_seed(FLAGS.seed)
    settings = dict(map(defense_settings.parse, FLAGS.setting))
    with tfbackdoor.make_strategy(FLAGS.strategy).scope():
        classifier = defense.load_classifier()
        test, poisoning = defense.load_test(classifier)
        outcome = recipe.run(
            FLAGS.defense,
            classifier,
            defense.load_clean_images(classifier),
            precision=runner.precision(),
            **settings,
        )
        rows = recipe.score(classifier, outcome, test, poisoning)
    defense.write_results(
        folder,
        outcome.classifier,
        rows,
        test,
        {"defense": FLAGS.defense, **outcome.details},
    )


def main():
    runner.run(job, "defend")


if __name__ == "__main__":
    main()
