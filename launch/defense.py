"""What the launchers that take a classifier share."""

from absl import flags

from launch import attack
from launch import images
from launch import runner

flags.DEFINE_string(
    "classifier", None, "Suspicious .keras or .h5 file.", required=True
)
flags.DEFINE_float(
    "attacker_share",
    0.9,
    "Share of the training images that belongs to the attacker; clean images "
    "are drawn from the rest. 0 where the model was trained elsewhere.",
    0.0,
    1.0,
)
flags.DEFINE_integer(
    "data_seed", 0, "Seed of that split: the --seed of launch.train."
)
flags.DEFINE_bool(
    "allow_unsafe_code",
    False,
    "DANGER: runs whatever code is stored in a model file (Lambda layers). "
    "Only for files of your own.",
)


FLAGS = flags.FLAGS


def load_classifier(path=None):
    """The classifier of `path` or the flags, on the strategy in scope."""
    import tfbackdoor

    return tfbackdoor.load_classifier(
        path or FLAGS.classifier, allow_unsafe_code=FLAGS.allow_unsafe_code
    )


def load_clean_images(classifier):
    """The defender's clean images, in memory."""
    import tfbackdoor

    _, clean = images.split_training(
        images.load("train"),
        [FLAGS.attacker_share, FLAGS.clean_images],
        seed=FLAGS.data_seed,
    )
    clean = tfbackdoor.in_memory(clean)
    tfbackdoor.network.check_images(classifier, clean.batch(256))
    return clean


def load_test(classifier):
    """The test images, which only score, and the attack or None."""
    import tfbackdoor

    test = images.load("test")
    tfbackdoor.network.check_images(
        classifier, test.batch(256), name="test images"
    )
    return test, attack.load(classifier)


def write_results(folder, purified, rows, test, details) -> None:
    """Exports the purified classifier, writes and prints the scores.

    Args:
        folder: where to write.
        purified: the purified classifier.
        rows: from row name, first and last `"before"` and the defense, to
            scores.
        test: unbatched test images.
        details: what else goes into `scores.json`.
    """
    import tfbackdoor

    batch = next(test.batch(32).as_numpy_iterator())[0]
    export(purified, folder, batch)
    before, *_, after = rows.values()
    if before.attack_success is not None:
        details["defense_effectiveness"] = (
            tfbackdoor.rates.defense_effectiveness(before, after)
        )
    scores = {name: row.to_json() for name, row in rows.items()}
    runner.write_json(folder / "scores.json", {"scores": scores, **details})
    print(tfbackdoor.rates.scores_table(rows))


def export(purified, folder, batch) -> None:
    """Exports the purified classifier; a format that fails is a warning.

    The classifier itself is written all the same, and the run is not lost.
    """
    import tfbackdoor

    try:
        tfbackdoor.export_classifier(purified, folder, batch)
    except ValueError as error:
        print(f"Warning: {error}")
