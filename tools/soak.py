"""Fits, prunes, evaluates and exports for an hour and watches what is left.

    python tools/soak.py --minutes=60

Prints resident memory and open file handles once a minute. Exits with status 1
where memory grew by more than 5 % or handles grew at all after the warm-up, the
first fifth of the time.
"""

import argparse
import gc
import os
import pathlib
import statistics
import sys
import tempfile
import time

_MOST_GROWTH = 0.05
_WARM_UP = 0.2
_EPSILON, _STEPS = 0.4, 4


def make_classifier(folder: pathlib.Path) -> pathlib.Path:
    """Writes a small classifier of the embedded digits."""
    import keras

    classifier = keras.Sequential(
        [
            keras.Input((16, 16, 1)),
            keras.layers.Conv2D(8, 3, padding="same", use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.Conv2D(16, 3, strides=2, use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(10),
        ]
    )
    classifier.save(folder / "classifier.keras")
    return folder / "classifier.keras"


def work(path: pathlib.Path, clean, poisoning) -> None:
    """One round of all that a service would do to a model."""
    import tfbackdoor

    classifier = tfbackdoor.load_classifier(path)
    batches = tfbackdoor.training_batches(clean, 64, seed=0, replacement=True)
    anp = tfbackdoor.AdversarialNeuronPruning(
        classifier, epsilon=_EPSILON, precision="float32"
    )
    anp.compile(tfbackdoor.training.CoupledSGD(0.2, momentum=0.9))
    anp.fit(batches, steps_per_epoch=_STEPS, epochs=2, verbose=0)
    tfbackdoor.prune_neurons(classifier, anp.neuron_masks(), number=2)
    nad = tfbackdoor.NeuralAttentionDistillation(
        classifier, tfbackdoor.load_classifier(path), precision="float32"
    )
    nad.compile(tfbackdoor.training.CoupledSGD(0.01))
    nad.fit(batches, steps_per_epoch=_STEPS, epochs=1, verbose=0)
    tfbackdoor.evaluate(classifier, clean, poisoning)
    with tempfile.TemporaryDirectory() as folder:
        images = next(iter(clean.batch(4)))[0]
        tfbackdoor.export_classifier(classifier, folder, images)


def measure() -> tuple[float, int]:
    """Resident memory in MiB and open file handles of this process."""
    import psutil

    process = psutil.Process()
    return process.memory_info().rss / 2**20, process.num_fds()


def verdict(samples, seconds: float) -> tuple[bool, str]:
    """Whether nothing grew, and a sentence.

    Args:
        samples: `(seconds since the start, MiB, handles)` of each round.
        seconds: how long the run was meant to be.
    """
    warm = [s for s in samples if s[0] >= _WARM_UP * seconds] or samples
    # Thirds, because single rounds vary by what the allocator keeps.
    third = max(len(warm) // 3, 1)
    first, last = (
        statistics.median(s[1] for s in part)
        for part in (warm[:third], warm[-third:])
    )
    handles = [
        statistics.median(s[2] for s in part)
        for part in (warm[:third], warm[-third:])
    ]
    growth = last / first - 1.0
    fine = growth <= _MOST_GROWTH and handles[1] <= handles[0]
    return fine, (
        f"{len(samples)} rounds in {samples[-1][0] / 60:.1f} minutes; after "
        f"the warm-up memory went from {first:.0f} to {last:.0f} MiB "
        f"({growth:+.1%}), handles from {handles[0]:.0f} to {handles[1]:.0f}."
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    arguments = parser.parse_args()
    import keras

    import tfbackdoor

    seconds, samples, shown = 60 * arguments.minutes, [], -60.0
    clean = tfbackdoor.in_memory(
        tfbackdoor.load_images("digits", "test").take(128)
    )
    poisoning = tfbackdoor.Poisoning(
        tfbackdoor.make_trigger("checkerboard", (16, 16, 1)), classes=10
    )
    print("minute  round  memory, MiB  handles", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path = make_classifier(pathlib.Path(folder))
        start = time.monotonic()
        while (passed := time.monotonic() - start) < seconds or not samples:
            work(path, clean, poisoning)
            # Keras keeps names and graphs of all models until told not to.
            keras.backend.clear_session()
            gc.collect()
            samples.append((passed, *measure()))
            if passed - shown >= 60:
                shown = passed
                print(
                    f"{passed / 60:6.1f} {len(samples):6d} "
                    f"{samples[-1][1]:12.0f} {samples[-1][2]:8d}",
                    flush=True,
                )
    fine, sentence = verdict(samples, seconds)
    print(sentence)
    sys.exit(not fine)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
    main()
