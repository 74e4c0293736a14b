"""Scores a classifier on clean and, if it can, triggered images.

    python -m launch.evaluate --classifier=classifier.keras \\
        --dataset=cifar10 --data_dir=DIR --trigger=checkerboard --target=0

prints clean accuracy, attack success and robust accuracy with their 95 %
intervals and writes them to `scores.json` under `--output`.
"""

from absl import flags

from . import running
from .flags import attack
from .flags import classifier as classifier_flags
from .flags import images

FLAGS = flags.FLAGS
for _concern in (classifier_flags, images, attack):
    flags.adopt_module_key_flags(_concern)


def job(folder):
    import tfbackdoor

    classifier = classifier_flags.load()
    test = images.load("test")
    scores = tfbackdoor.evaluate(
        classifier,
        test,
        attack.load(classifier),
        preprocess=FLAGS.preprocess,
    )
    tfbackdoor.files.write_json(folder / "scores.json", scores.to_json())
    print(tfbackdoor.rates.scores_table({"classifier": scores}))


def main():
    running.run(job, "evaluate", required=["classifier"])


if __name__ == "__main__":
    main()
