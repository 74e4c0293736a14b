"""Purifies a classifier in one command, without knowing the trigger.

    python -m launch.purify --classifier=suspicious.keras --dataset=clean.npz \\
        --attacker_share=0 --clean_images=500 --output=purified

scans for a backdoor, prunes, recovers, and writes the purified
`classifier.keras` and `saved_model/`, `report.html`, `report.json` and
`neuron_masks.npz` to `--output`. A classifier that the scan finds clean is left
as it is, unless `--always`.
"""

from absl import flags

from launch import attack
from launch import defense
from launch import images
from launch import runner

flags.DEFINE_integer("clean_images", 500, "Clean images to use.", 20)
flags.DEFINE_float(
    "held_out", 0.2, "Share of them that judges, not optimises.", 0.01, 0.9
)
flags.DEFINE_bool(
    "test", True, "Whether to score on the split test of the data set."
)
flags.DEFINE_bool("always", False, "Purifies what the scan finds clean, too.")
flags.DEFINE_bool(
    "oracle",
    False,
    "Chooses the threshold by attack success, with --trigger or --poisoning; "
    "no defender can. The report says so.",
)
flags.DEFINE_float(
    "max_accuracy_drop",
    None,
    "Held-out accuracy that pruning may cost, with 95 % confidence; default "
    "0.01, 0.15 where the scan is not sure.",
    0.0,
    1.0,
)
flags.DEFINE_integer("scan_steps", 200, "Batches of the scan.", 1)
flags.DEFINE_float(
    "epsilon", None, "ANP's perturbation; default calibrated.", 0.0
)
flags.DEFINE_integer("iterations", 300, "Batches of ANP.", 1)
flags.DEFINE_float(
    "threshold", None, "Pruning threshold, in place of choosing it.", 0.0, 1.0
)
flags.DEFINE_integer(
    "recovery_steps", 500, "Batches of recovery, 0 for none.", 0
)
flags.DEFINE_float("recovery_rate", 3e-4, "Its learning rate, Adam's.", 0.0)
flags.DEFINE_float(
    "max_share", 0.03, "Pixels of the patches that are unlearned.", 1e-4, 1.0
)
flags.DEFINE_float(
    "max_opacity",
    0.2,
    "Of the blends over all pixels that are unlearned, 0 for none.",
    0.0,
    1.0,
)
flags.DEFINE_integer(
    "padding", None, "Pixels of the random crop; default what it bears.", 0
)
flags.DEFINE_bool(
    "flip", None, "Whether clean images are mirrored; default if it bears it."
)
flags.DEFINE_list("class_names", None, "A name a class, for the report.")


FLAGS = flags.FLAGS
_SETTINGS = (
    "held_out",
    "max_accuracy_drop",
    "always",
    "scan_steps",
    "epsilon",
    "iterations",
    "threshold",
    "recovery_steps",
    "recovery_rate",
    "max_share",
    "max_opacity",
    "padding",
    "flip",
    "seed",
)
_SMOKE = {"scan_steps": 5, "iterations": 5, "recovery_steps": 5}


def job(folder):
    import tfbackdoor

    tfbackdoor.set_seed(FLAGS.seed)
    settings = {name: FLAGS[name].value for name in _SETTINGS}
    if FLAGS.smoke:
        settings |= _SMOKE
    with tfbackdoor.make_strategy(FLAGS.strategy).scope():
        settings["precision"] = runner.precision()
        classifier = defense.load_classifier()
        poisoning = attack.load(classifier)
        if FLAGS.oracle and poisoning is None:
            raise ValueError(
                "--oracle needs the attack. Received: neither --trigger nor "
                "--poisoning."
            )
        purified, report = tfbackdoor.purify(
            classifier,
            defense.load_clean_images(classifier),
            test=images.load("test") if FLAGS.test else None,
            poisoning=poisoning,
            oracle=poisoning if FLAGS.oracle else None,
            class_names=FLAGS.class_names,
            **settings,
        )
    report.save(folder)
    if report.neuron_masks:
        tfbackdoor.defenses.save_masks(
            report.neuron_masks, folder / "neuron_masks.npz"
        )
    defense.export(purified, folder, report.samples)
    print(report.verdict)
    for warning in report.warnings:
        print(f"Warning: {warning}")
    print(tfbackdoor.rates.scores_table(report.test_scores or report.scores))


def main():
    runner.run(job, "purify")


if __name__ == "__main__":
    main()
