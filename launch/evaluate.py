"""Scores a classifier on clean and, if it can, triggered images.

    python -m launch.evaluate --classifier=classifier.keras \\
        --dataset=cifar10 --data_dir=DIR --trigger=checkerboard --target=0

prints clean accuracy, attack success and robust accuracy with their 95 %
intervals and writes them to `scores.json` under `--output`.
"""

from absl import flags

from launch import defense
from launch import runner

FLAGS = flags.FLAGS


def job(folder):
    import tfbackdoor

    classifier = defense.load_classifier()
    test, poisoning = defense.load_test(classifier)
    scores = tfbackdoor.evaluate(classifier, test, poisoning)
    runner.write_json(folder / "scores.json", scores.to_json())
    print(tfbackdoor.rates.scores_table({"classifier": scores}))


def main():
    runner.run(job, "evaluate")


if __name__ == "__main__":
    main()
