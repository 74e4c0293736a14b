"""What the launchers of single defenses share."""

import inspect

from absl import flags

flags.DEFINE_bool("augment", True, "Random crop and flip (as in the papers).")
flags.DEFINE_bool(
    "flip",
    True,
    "Whether augmenting mirrors images: not for digits or traffic signs.",
)

FLAGS = flags.FLAGS
_SMOKE = {
    "epochs": 1,
    "teacher_epochs": 1,
    "iterations": 10,
    "recovery_steps": 5,
}
_PADDING = 4  # Pixels, in both papers.


def run(defense: str, classifier, clean, **settings):
    """What `defend` makes of a classifier, by the flags of all."""
    import tfbackdoor

    return tfbackdoor.defend(
        defense,
        classifier,
        clean,
        flip=FLAGS.augment and FLAGS.flip,
        padding=_PADDING if FLAGS.augment else 0,
        seed=FLAGS.seed,
        **(smoke_settings(defense, settings) if FLAGS.smoke else settings),
    )


def smoke_settings(defense: str, settings: dict) -> dict:
    """Settings of a defense, but with as few steps as run its whole path."""
    import tfbackdoor

    parameters = inspect.signature(tfbackdoor.DEFENSES[defense]).parameters
    fewer = {
        name: min(most, settings.get(name, parameters[name].default))
        for name, most in _SMOKE.items()
        if name in parameters
    }
    if "end_settings" in parameters:
        fewer["end_settings"] = {"epochs": 1}
    return {**settings, **fewer}


def score(classifier, outcome, test, poisoning) -> dict:
    """Scores by row: `before`, then each stage of the defense."""
    import tfbackdoor

    stages = {"before": classifier, **outcome.stages}
    return {
        name: tfbackdoor.evaluate(stage, test, poisoning)
        for name, stage in stages.items()
    }
