"""Scores a classifier on clean and, if it can, triggered images.

    python -m launch.evaluate --classifier=classifier.keras \\
        --dataset=cifar10 --data_dir=DIR --trigger=checkerboard --target=0

prints clean accuracy, attack success and robust accuracy with their 95 %
intervals and writes them to `scores.json` under `--output`. `--retune` also
scores a copy that was fine-tuned on clean training images of which five are
poisoned: a purified classifier should stay purified.
"""

from absl import flags

from . import running
from .flags import attack
from .flags import augmentation
from .flags import classifier as classifier_flags
from .flags import clean_images
from .flags import given
from .flags import images
from .flags import retuning
from .flags import run

FLAGS = flags.FLAGS
for _concern in (classifier_flags, images, attack):
    flags.adopt_module_key_flags(_concern)
for _concern in (retuning, clean_images, augmentation):
    flags.adopt_module_key_flags(_concern)


def job(folder):
    import tfbackdoor

    classifier = classifier_flags.load()
    test = images.load("test")
    poisoning = attack.load(classifier)
    rows = {"classifier": classifier}
    if FLAGS.retune:
        rows["retuned"] = _retuned(classifier, poisoning)
    scores = {
        name: tfbackdoor.evaluate(
            row, test, poisoning, preprocess=FLAGS.preprocess
        )
        for name, row in rows.items()
    }
    content = scores["classifier"].to_json()
    if FLAGS.retune:
        content["retuned"] = scores["retuned"].to_json()
    tfbackdoor.files.write_json(folder / "scores.json", content)
    print(tfbackdoor.rates.scores_table(scores))


def _retuned(classifier, poisoning):
    import tfbackdoor

    if poisoning is None:
        raise ValueError(
            "--retune needs the attack. Received: neither --trigger nor "
            "--poisoning."
        )
    return tfbackdoor.attacks.retune(
        classifier,
        clean_images.load(1000)["clean"],
        poisoning,
        seed=FLAGS.seed,
        precision=run.precision(),
        preprocess=FLAGS.preprocess,
        **given(augmentation),
    )


def main():
    running.run(job, "evaluate", required=["classifier"])


if __name__ == "__main__":
    main()
