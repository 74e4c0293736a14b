"""Purifies a classifier by any defense of the papers, for comparison.

    python -m launch.defend --defense=fine_pruning \\
        --classifier=classifier.keras --dataset=cifar10 --data_dir=DIR

runs the defense with its paper's settings on 2,500 clean images, 5 % of
CIFAR-10, all choices made from clean images, and writes the purified
`classifier.keras` and `saved_model/` and `scores.json` to `--output`.
"""

from absl import flags

from . import running
from .flags import defense
from .flags import defense_settings
from .flags import run
from .running import one_defense

flags.DEFINE_string(
    "defense",
    None,
    "fine_tuning, fine_pruning, mode_connectivity, nad, anp, ft_sam, i_bau, "
    "rnp, hardening or purify.",
)

FLAGS = flags.FLAGS
for _concern in (defense, defense_settings):
    flags.adopt_module_key_flags(_concern)


def job(folder):
    import tfbackdoor

    tfbackdoor.set_seed(FLAGS.seed)
    settings = defense_settings.by_defense(FLAGS.setting, FLAGS.defense)
    with tfbackdoor.make_strategy(FLAGS.strategy).scope():
        classifier, clean, test, poisoning = one_defense.load(2500)
        outcome = one_defense.run(
            FLAGS.defense,
            classifier,
            clean,
            precision=run.precision(),
            **settings.get(FLAGS.defense, {}),
        )
        rows = one_defense.score(classifier, outcome, test, poisoning)
    one_defense.write(
        folder, classifier, outcome, rows, test, defense=FLAGS.defense
    )


def main():
    running.run(job, "defend", required=["classifier", "defense"])


if __name__ == "__main__":
    main()
