"""Tells whether a classifier is backdoored, and which class is the target.

    python -m launch.scan --classifier=suspicious.keras --dataset=clean.npz \\
        --attacker_share=0 --clean_images=500

searches for each class the smallest patch that calls it, perturbs the neurons
as ANP does, and prints how unusual each patch is, what share of the errors
under perturbation falls on each class, and a verdict: clean, backdoored or not
sure.
`--output` holds
`scan.json` and the patches found (`inverted_triggers.npz`).
"""

from absl import flags

from launch import defense
from launch import runner

flags.DEFINE_integer("clean_images", 500, "Clean images to use.", 1)
flags.DEFINE_integer("scan_steps", 200, "Batches of the search.", 1)


FLAGS = flags.FLAGS


def job(folder):
    import numpy as np

    import tfbackdoor

    tfbackdoor.set_seed(FLAGS.seed)
    with tfbackdoor.make_strategy(FLAGS.strategy).scope():
        precision = runner.precision()
        classifier = defense.load_classifier()
        clean = defense.load_clean_images(classifier)
        values = tfbackdoor.find_value_range(classifier, clean)
        found = tfbackdoor.scan(
            values.adapt(classifier),
            clean,
            steps=5 if FLAGS.smoke else FLAGS.scan_steps,
            seed=FLAGS.seed,
            precision=precision,
            verbose=0,
        )
    runner.write_json(folder / "scan.json", found.to_json())
    np.savez_compressed(
        folder / "inverted_triggers.npz",
        masks=found.triggers.masks,
        patterns=found.triggers.patterns,
        targets=found.triggers.targets,
    )
    print("class  anomaly  trigger, pixels  share of errors")
    for row in zip(
        range(len(found.anomalies)),
        found.anomalies,
        found.triggers.sizes,
        found.error_shares,
    ):
        print("{:5d}  {:7.2f}  {:15.1f}  {:15.2f}".format(*row))
    print(f"Verdict: {found}")


def main():
    runner.run(job, "scan")


if __name__ == "__main__":
    main()
