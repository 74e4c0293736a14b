"""Peak memory of `purify` on large images, above what loading takes.

    python benchmarks/memory.py [--networks=MobileNetV2,ResNet50]
        [--images=500] [--size=224] [--classes=10] [--steps=N] [--smoke]

Each network of `keras.applications` gets a process of its own, and the peak of
its resident set is read when the classifier and the clean images are loaded,
and again when `purify` has ended. All weights are random but the head's, which
tells images of as many colours as there are classes apart. `--steps` takes so
many batches of scan, masks and recovery in place of the defaults: the peak is
reached in the first ones. `--smoke` goes the same way in 2 on fewer images.
"""

import argparse
import multiprocessing
import time

_SMOKE_STEPS, _SMOKE_IMAGES = 2, 40
_BATCH = 8
_CONFIDENCE = 10.0  # Logits of a class above the others.


def peak():
    """GiB, the largest resident set of this process so far."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def coloured_noise(count, size, classes):
    """Noise around one colour a class, and the classes."""
    import numpy as np

    rng = np.random.default_rng(0)
    labels = np.arange(count) % classes
    pixels = rng.random((count, size, size, 3), "float32")
    pixels *= 0.2
    pixels += 0.8 * rng.random((classes, 1, 1, 3), "float32")[labels]
    return pixels, labels


def teach_head(classifier, pixels, labels):
    """Fits the last layer by least squares."""
    import keras
    import numpy as np

    head = classifier.layers[-1]
    below = keras.Model(classifier.inputs, head.input)
    features = below.predict(pixels, batch_size=_BATCH, verbose=0)
    mean, deviation = features.mean(0), features.std(0) + 1e-6
    wanted = np.eye(head.units)[labels] - 1.0 / head.units
    kernel, *_ = np.linalg.lstsq((features - mean) / deviation, wanted)
    kernel *= _CONFIDENCE / deviation[:, None]
    head.set_weights([kernel, -mean @ kernel])


def apart(measure, *arguments):
    """What `measure(pipe, *arguments)` sends from a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=measure, args=(theirs, *arguments))
    process.start()
    theirs.close()  # Or no end of the process would be noticed.
    received = ours.recv()
    process.join()
    return received


def _measure(pipe, network, settings, images, size, classes):
    import keras

    import tfbackdoor

    tfbackdoor.set_seed(0)
    classifier = getattr(keras.applications, network)(
        weights=None, input_shape=(size, size, 3), classes=classes
    )
    pixels, labels = coloured_noise(images, size, classes)
    teach_head(classifier, pixels, labels)
    clean = tfbackdoor.from_arrays(pixels, labels)
    loaded, start = peak(), time.monotonic()
    tfbackdoor.purify(classifier, clean, verbose=0, **settings)
    pipe.send((loaded, peak(), time.monotonic() - start))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", default="MobileNetV2,ResNet50")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--smoke", action="store_true")
    given = parser.parse_args()
    steps = _SMOKE_STEPS if given.smoke else given.steps
    names = ("scan_steps", "hardening_steps", "recovery_steps") if steps else ()
    settings = dict.fromkeys(names, steps)
    images = min(given.images, _SMOKE_IMAGES) if given.smoke else given.images
    print("| network | loaded, GiB | purify above it, GiB | minutes |")
    print("|---|---|---|---|")
    sizes = (images, given.size, given.classes)
    for network in given.networks.split(","):
        loaded, most, seconds = apart(_measure, network, settings, *sizes)
        print(
            f"| {network} | {loaded:.2f} | {most - loaded:.2f} | "
            f"{seconds / 60.0:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
