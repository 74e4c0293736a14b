"""What `purify` makes of small classifiers unlike each other.

    python benchmarks/purify_digits.py --seed=0

Trains classifiers of the embedded digits with a backdoor, with and without
batch normalisation, softmax or logits out, inputs in [0, 1] and in 0 to 255, as
`.keras` and `.h5`, and purifies each file on clean images, by default settings.
"""

import argparse
import dataclasses
import pathlib
import tempfile

import keras

import tfbackdoor

_TARGET, _EPOCHS = 4, 25


@dataclasses.dataclass(frozen=True)
class _Kind:
    trigger: str
    levels: float
    normalised: bool
    softmax: bool
    suffix: str


_KINDS = (
    _Kind("checkerboard", 255.0, False, True, ".h5"),
    _Kind("checkerboard", 1.0, True, False, ".keras"),
    _Kind("noise_blend", 1.0, False, True, ".keras"),
    _Kind("noise_blend", 255.0, True, True, ".h5"),
)


def _build(kind, image_shape):
    def convolution(filters):
        if not kind.normalised:
            return [
                keras.layers.Conv2D(
                    filters, 3, padding="same", activation="relu"
                )
            ]
        return [
            keras.layers.Conv2D(filters, 3, padding="same"),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
        ]

    return keras.Sequential(
        [
            keras.Input(image_shape),
            *convolution(16),
            *convolution(16),
            keras.layers.MaxPooling2D(),
            *convolution(32),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(
                10, activation="softmax" if kind.softmax else None
            ),
        ]
    )


def _train(kind, images, poisoning, seed):
    """A backdoored classifier."""
    tfbackdoor.set_seed(seed)
    poisoned, poisoning = tfbackdoor.attacks.poison(images, poisoning)
    classifier = _build(kind, tuple(images.element_spec[0].shape))
    classifier.compile(
        keras.optimizers.Adam(2e-3),
        keras.losses.SparseCategoricalCrossentropy(
            from_logits=not kind.softmax
        ),
    )
    batches = tfbackdoor.training_batches(poisoned, 32, seed=seed)
    classifier.fit(
        batches.map(lambda image, label: (image * kind.levels, label)),
        epochs=_EPOCHS,
        verbose=0,
    )
    return classifier


def _purify(kind, seed, folder):
    train, test = (
        tfbackdoor.in_memory(tfbackdoor.load_images("digits", split))
        for split in ("train", "test")
    )
    attacker, clean = tfbackdoor.split_images(train, [0.6, 0.4], seed=seed)
    trigger = tfbackdoor.make_trigger(kind.trigger, (16, 16, 1))
    poisoning = tfbackdoor.Poisoning(
        trigger, classes=10, target=_TARGET, rate=0.1, seed=seed
    )
    path = folder / f"classifier{kind.suffix}"
    _train(kind, attacker, poisoning, seed).save(path)
    _, report = tfbackdoor.purify(
        tfbackdoor.load_classifier(path),
        clean,
        test=test,
        poisoning=poisoning,
        seed=seed,
        verbose=0,
    )
    return report


def _row(kind, report):
    before, after = (
        f"{100 * scores.clean_accuracy.value:.1f} / "
        f"{100 * scores.attack_success.value:.1f}"
        for scores in map(report.test_scores.get, ("before", "purified"))
    )
    cells = [
        kind.trigger,
        "batch normalisation" if kind.normalised else "none",
        "softmax" if kind.softmax else "logits",
        f"0 to {kind.levels:g}",
        kind.suffix,
        str(report.scan),
        before,
        after,
    ]
    return f"| {' | '.join(cells)} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    print(
        f"Backdoor of class {_TARGET}; accuracy / attack success in %\n\n"
        "| trigger | norm | output | input | file | scan | before | purified |"
        "\n|---|---|---|---|---|---|---|---|"
    )
    for kind in _KINDS:
        with tempfile.TemporaryDirectory() as folder:
            report = _purify(kind, seed, pathlib.Path(folder))
        print(_row(kind, report), flush=True)


if __name__ == "__main__":
    main()
