"""What the launchers of single defences share."""

from absl import flags

flags.DEFINE_bool("augment", True, "Random crop and flip (as in the papers).")
flags.DEFINE_bool(
    "flip",
    True,
    "Whether augmenting mirrors images: not for digits or traffic signs.",
)

FLAGS = flags.FLAGS
_PADDING = 4  # Pixels, in both papers.


def run(defence: str, classifier, clean, **settings):
    """What `defend` makes of a classifier, by the flags of all."""
    import tfbackdoor

    return tfbackdoor.defend(
        defence,
        classifier,
        clean,
        flip=FLAGS.augment and FLAGS.flip,
        padding=_PADDING if FLAGS.augment else 0,
        seed=FLAGS.seed,
        small=FLAGS.smoke,
        **settings,
    )


def score(classifier, outcome, test, poisoning) -> dict:
    """Scores by row: `before`, then each stage of the defence."""
    import tfbackdoor

    stages = {"before": classifier, **outcome.stages}
    return {
        name: tfbackdoor.evaluate(stage, test, poisoning)
        for name, stage in stages.items()
    }
