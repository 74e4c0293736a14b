"""Tells whether a classifier is backdoored, and which class is the target.

    python -m launch.scan --classifier=suspicious.keras --dataset=clean.npz \\
        --attacker_share=0 --clean_images=500

searches for each class the smallest patch that turns images to it and the
largest margin, perturbs the neurons as ANP does, lays faint waves over images
and looks for a trigger that permutes the classes. It prints how unusual each
patch is, what share of the errors under perturbation falls on each class, its
margin and the images that a wave turns to it, the probability of a backdoor,
and a verdict: backdoored, suspicious or nothing found. `--output` holds
`scan.json` and the patches found (`inverted_triggers.npz`).
"""

from absl import flags

from . import running
from .flags import classifier as classifier_flags
from .flags import clean_images
from .flags import purify
from .flags import run

FLAGS = flags.FLAGS
for _concern in (classifier_flags, clean_images):
    flags.adopt_module_key_flags(_concern)
flags.declare_key_flag(purify.SCAN_STEPS)
_SMOKE_STEPS = 5
_ROW = "{:5d}  {:7.2f}  {:15.1f}  {:15.2f}  {:6.1f}  {:5.2f}"


def job(folder):
    import tfbackdoor

    tfbackdoor.set_seed(FLAGS.seed)
    steps = {}
    if FLAGS.smoke or FLAGS.scan_steps is not None:
        steps["steps"] = _SMOKE_STEPS if FLAGS.smoke else FLAGS.scan_steps
    with tfbackdoor.make_strategy(FLAGS.strategy).scope():
        precision = run.precision()
        classifier = classifier_flags.load()
        clean = clean_images.load()["clean"]
        found = tfbackdoor.scan(
            classifier,
            clean,
            preprocess=FLAGS.preprocess,
            seed=FLAGS.seed,
            precision=precision,
            verbose=0,
            **steps,
        )
    _write(folder, found)
    _print(found)


def _write(folder, found):
    import numpy as np

    import tfbackdoor

    tfbackdoor.files.write_json(folder / "scan.json", found.to_json())
    np.savez_compressed(
        folder / "inverted_triggers.npz",
        masks=found.triggers.masks,
        patterns=found.triggers.patterns,
        targets=found.triggers.targets,
    )


def _print(found):
    """One line per class that was searched, and the verdict."""
    print("class  anomaly  trigger, pixels  share of errors  margin   wave")
    searched = found.triggers.targets
    rows = zip(
        searched,
        found.anomalies[searched],
        found.triggers.sizes,
        found.error_shares[searched],
        found.margins[searched],
        found.wave_answers[searched],
    )
    for row in sorted(rows):
        print(_ROW.format(*row))
    if len(searched) < len(found.anomalies):
        print(
            f"The {len(found.anomalies) - len(searched)} other classes are "
            "harder to reach, or as hard as those drawn to compare with."
        )
    print(f"Probability of a backdoor: {found.probability:.2f}")
    print(f"Verdict: {found}")


def main():
    running.run(job, "scan", required=["classifier"])


if __name__ == "__main__":
    main()
