"""One defense by the flags: what it takes, its scores, what is written."""

import pathlib

from absl import flags

from ..flags import attack
from ..flags import classifier as classifier_flags
from ..flags import clean_images
from ..flags import defense as defense_flags
from ..flags import export
from ..flags import images

FLAGS = flags.FLAGS
_FEW_STEPS = {
    "epochs": 1,
    "teacher_epochs": 1,
    "iterations": 10,
    "scan_steps": 5,
    "steps": 5,
    "hardening_steps": 5,
    "recovery_steps": 5,
}


def load(clean_count: int = 500):
    """The classifier, clean images, test images, and the attack or None.

    The clean images as `clean_images.load` gives them.

    Args:
        clean_count: clean images where the flag is not given.
    """
    from tfbackdoor.evaluation import check_scorable

    export.check()
    classifier = classifier_flags.load()
    test = images.load("test")
    poisoning = attack.load(classifier)
    check_scorable(classifier, test, poisoning)
    clean = clean_images.load(clean_count)
    return classifier, clean, test, poisoning


def run(defense: str, classifier, clean, **settings):
    """What `defend` makes of a classifier, by the flags of all defenses."""
    import tfbackdoor

    if FLAGS.smoke:
        settings = with_few_steps(defense, settings)
    return tfbackdoor.defend(
        defense,
        classifier,
        **clean,
        seed=FLAGS.seed,
        preprocess=FLAGS.preprocess,
        **defense_flags.settings(),
        **settings,
    )


def with_few_steps(defense: str, settings: dict) -> dict:
    """Settings of a defense, but with as few steps as run its whole path."""
    from tfbackdoor.defend import defense_settings
    from tfbackdoor.training import setting_ranges

    setting_ranges.check(settings)
    known = defense_settings(defense)
    fewer = {
        name: min(most, settings.get(name, known[name]))
        for name, most in _FEW_STEPS.items()
        if name in known
    }
    if "end_settings" in known:
        fewer["end_settings"] = {"epochs": 1}
    return {**settings, **fewer}


def adapted(stage, outcome, test):
    """The classifier of a stage, taking images in [0, 1]."""
    values = outcome.found["value_range"]
    return classifier_flags.adapted(stage, test, values)


def score(classifier, outcome, test, poisoning) -> dict:
    """Scores by row: `before`, then each stage of the defense."""
    import tfbackdoor

    stages = {"before": classifier, **outcome.stages}
    return {
        name: tfbackdoor.evaluate(
            stage, test, poisoning, preprocess=outcome.found["value_range"]
        )
        for name, stage in stages.items()
    }


def write(
    folder: pathlib.Path, classifier, outcome, rows: dict, test, **details
) -> None:
    """Exports the purified classifier, writes and prints the scores.

    Args:
        folder: where to write.
        classifier: as it was loaded.
        outcome: the `DefenseResult`.
        rows: of `score`.
        test: unbatched test images.
        **details: what else goes into `scores.json`.
    """
    import tfbackdoor

    batch = next(test.batch(32).as_numpy_iterator())[0]
    export.write(outcome.classifier, folder, batch, loaded=classifier)
    details |= outcome.to_json()
    before, *_, after = rows.values()
    if before.attack_success is not None:
        details["defense_effectiveness"] = (
            tfbackdoor.rates.defense_effectiveness(before, after)
        )
    scores = {name: row.to_json() for name, row in rows.items()}
    tfbackdoor.files.write_json(
        folder / "scores.json", {"scores": scores, **details}
    )
    for warning in outcome.warnings or ():
        print(f"Warning: {warning}")
    print(tfbackdoor.rates.scores_table(rows))
