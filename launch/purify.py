"""Purifies a classifier in one command, without knowing the trigger.

    python -m launch.purify --classifier=suspicious.keras --dataset=clean.npz \\
        --attacker_share=0 --clean_images=500 --output=purified

scans for a backdoor, hardens the classifier, unlearns the triggers that were
found, and writes the purified `classifier.keras` and `saved_model/`,
`report.html` and `report.json` to `--output`, with `--prune` also
`neuron_masks.npz`. With `--only_if_found` a classifier in which the scan finds
nothing is left as it is.
"""

import warnings

from absl import flags

from . import running
from .flags import attack
from .flags import augmentation
from .flags import classifier as classifier_flags
from .flags import clean_images
from .flags import export
from .flags import given
from .flags import images
from .flags import pruning
from .flags import purify
from .flags import retuning
from .flags import run
from .flags import training
from .running import one_defense

flags.DEFINE_bool(
    "test",
    None,
    "Whether to score on the split test of the data set; default where it has "
    "one.",
)
flags.DEFINE_bool(
    "oracle",
    False,
    "Chooses the threshold by attack success, with --trigger or --poisoning; "
    "no defender can. The report says so.",
)
flags.DEFINE_list("class_names", None, "A name a class, for the report.")

FLAGS = flags.FLAGS
for _concern in (classifier_flags, clean_images, attack, export):
    flags.adopt_module_key_flags(_concern)
for _concern in (purify, pruning, augmentation, retuning):
    flags.adopt_module_key_flags(_concern)
flags.declare_key_flag(training.TRAIN_FROZEN)


def job(folder):
    import tfbackdoor

    export.check()
    tfbackdoor.set_seed(FLAGS.seed)
    # Its doubt is among the warnings of the report.
    warnings.simplefilter("ignore", tfbackdoor.network.RangeWarning)
    settings = given(purify, pruning, augmentation, retuning, training)
    if FLAGS.smoke:
        settings = one_defense.with_few_steps("purify", settings)
    with tfbackdoor.make_strategy(FLAGS.strategy).scope():
        precision = run.precision()
        classifier = classifier_flags.load()
        poisoning = attack.load(classifier)
        _check_oracle(poisoning)
        purified, report = tfbackdoor.purify(
            classifier,
            **clean_images.load(),
            test=_test(),
            poisoning=poisoning,
            oracle=poisoning if FLAGS.oracle else None,
            class_names=FLAGS.class_names,
            preprocess=FLAGS.preprocess,
            seed=FLAGS.seed,
            precision=precision,
            **settings,
        )
    _write(folder, classifier, purified, report)
    print(report.verdict)
    for warning in report.warnings:
        print(f"Warning: {warning}")
    kind, scores = "test", report.test_scores
    if not scores:
        kind, scores = "held-out", report.scores
    print(tfbackdoor.rates.scores_table(scores, kind))


def _test():
    """The images that only score, None where there are none."""
    import tfbackdoor

    if FLAGS.test is False:
        return None
    try:
        return images.load("test")
    except tfbackdoor.data.MissingSplitError:
        if FLAGS.test:
            raise
    print("No split test: held-out clean images alone score.")
    return None


def _check_oracle(poisoning):
    if FLAGS.oracle and poisoning is None:
        raise ValueError(
            "--oracle needs the attack. Received: neither --trigger nor "
            "--poisoning."
        )


def _write(folder, classifier, purified, report):
    import tfbackdoor

    report.save(folder)
    if report.neuron_masks:
        tfbackdoor.defenses.save_masks(
            report.neuron_masks, folder / "neuron_masks.npz"
        )
    export.write(purified, folder, report.samples, loaded=classifier)


def main():
    running.run(job, "purify", required=["classifier"])


if __name__ == "__main__":
    main()
