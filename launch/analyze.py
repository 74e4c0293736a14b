"""Draws what a backdoor does inside a classifier, before and after a defense.

    python -m launch.analyze --classifier=badnets/classifier.keras \\
        --purified=purified/classifier.keras --dataset=cifar10 --data_dir=DIR

writes to `--output`: `attention.png`, `embedding.png` (penultimate features
of clean and triggered images) and `activation_gap.png` with
`activation_gap.npz`. `--results=table/results.json`, of launch.benchmark, adds
`clean_share.png`, attack success against the share of clean data.
"""

from absl import flags

from . import running
from .flags import attack
from .flags import classifier as classifier_flags
from .flags import images

flags.DEFINE_string("purified", None, "The same after a defense, or none.")
flags.DEFINE_string("results", None, "results.json of launch.benchmark.")
flags.DEFINE_integer("samples", 500, "Test images to look at.", 3)
flags.DEFINE_enum(
    "embedding",
    "pca",
    ["pca", "tsne"],
    "How features become points: principal components, or t-SNE, which needs "
    "scikit-learn (pip install 'tfbackdoor[analysis]').",
)

FLAGS = flags.FLAGS
for _concern in (classifier_flags, images, attack):
    flags.adopt_module_key_flags(_concern)


def job(folder):
    if not FLAGS.classifier and not FLAGS.results:
        raise ValueError(
            "--classifier or --results must be given. Received: neither."
        )
    if FLAGS.results:
        _plot_shares(folder)
    if FLAGS.classifier:
        classifiers, samples = _load()
        _plot_attention(folder, classifiers, *samples)
        _plot_features(folder, classifiers, *samples)


def _load():
    """The classifiers by name; images, labels, their attack."""

    before = classifier_flags.load()
    poisoning = attack.load(before)
    if poisoning is None:
        raise ValueError(
            "--poisoning or --trigger must be given where --classifier has no "
            f"poisoning.json beside it. Received: {FLAGS.classifier}"
        )
    test = images.load("test").shuffle(10_000, seed=FLAGS.seed)
    classifiers = {"before": classifier_flags.adapted(before, test)}
    if FLAGS.purified:
        after = classifier_flags.load(FLAGS.purified)
        classifiers["after"] = classifier_flags.adapted(after, test)
    count = min(32, FLAGS.samples) if FLAGS.smoke else FLAGS.samples
    batch = test.take(count).batch(count)
    clean, labels = next(batch.as_numpy_iterator())
    return classifiers, (clean, labels, poisoning)


def _plot_attention(folder, classifiers, clean, labels, poisoning):
    import numpy as np

    import tfbackdoor

    shown = int(np.argmax(poisoning.attacked_labels(labels) != labels))
    image = clean[shown : shown + 1]
    kinds = {"clean": image, "triggered": np.asarray(poisoning.trigger(image))}
    try:
        rows = {
            f"{name},\n{kind}": (
                picture[0],
                tfbackdoor.defenses.attention_maps(
                    classifier, picture, tfbackdoor.find_taps(classifier)
                ),
            )
            for name, classifier in classifiers.items()
            for kind, picture in kinds.items()
        }
    except ValueError as error:
        print(f"No attention.png: {error}")
        return
    tfbackdoor.report.plot_attention_rows(rows, folder / "attention.png")


def _plot_features(folder, classifiers, clean, labels, poisoning):
    import numpy as np

    import tfbackdoor

    eligible = poisoning.attacked_labels(labels) != labels
    triggered = np.asarray(poisoning.trigger(clean[eligible]))
    gaps, panels = {}, {}
    for name, classifier in classifiers.items():
        on_clean = tfbackdoor.report.penultimate_features(classifier, clean)
        on_triggered = tfbackdoor.report.penultimate_features(
            classifier, triggered
        )
        gaps[name] = tfbackdoor.report.activation_gap(
            on_clean[eligible], on_triggered
        )
        panels[name] = tfbackdoor.report.embed(
            np.concatenate([on_clean, on_triggered]),
            method=FLAGS.embedding,
            seed=FLAGS.seed,
        )
        _say_gap(name, gaps[name])
    tfbackdoor.report.plot_gap(gaps, folder / "activation_gap.png")
    np.savez_compressed(folder / "activation_gap.npz", **gaps)
    one_target = poisoning.mode != "all_to_all"
    tfbackdoor.report.plot_embedding(
        panels,
        labels,
        folder / "embedding.png",
        target=poisoning.target if one_target else None,
        method={"pca": "principal component", "tsne": "t-SNE"}[FLAGS.embedding],
    )


def _say_gap(name, gap):
    largest = ", ".join(str(neuron) for neuron in (-gap).argsort()[:5])
    print(
        f"Activation gap {name}: mean {gap.mean():.3f}, largest "
        f"{gap.max():.3f}, in the neurons {largest} of {len(gap)}"
    )


def _plot_shares(folder):
    import json
    import pathlib

    import tfbackdoor

    try:
        cells = json.loads(pathlib.Path(FLAGS.results).read_text())["cells"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            "--results must be a results.json of launch.benchmark. "
            f"Received: {FLAGS.results}"
        ) from error
    tfbackdoor.benchmark.plot_shares(cells, folder / "clean_share.png")


def main():
    running.run(job, "analyze")


if __name__ == "__main__":
    main()
