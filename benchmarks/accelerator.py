"""One ANP iteration and one NAD step on the device at hand, XLA on and off.

    python benchmarks/accelerator.py [--steps=200] [--strategy=mirrored]

ResNet-18 at batch 128 and WRN-16-1 at batch 64, on random images in place of
CIFAR-10, with the batches that `launch.anp` and `launch.nad` draw. The first 20
steps, in which a step is traced and compiled, are told apart.
"""

import argparse
import itertools
import time

_FIRST_STEPS = 20
_SHAPE, _CLASSES, _IMAGES = (32, 32, 3), 10, 500


def _batches(batch_size, **settings):
    import numpy as np

    import tfbackdoor

    rng = np.random.default_rng(0)
    images = tfbackdoor.from_arrays(
        rng.random((_IMAGES, *_SHAPE), "float32"),
        rng.integers(0, _CLASSES, _IMAGES),
    )
    run = tfbackdoor.training.RunSettings()
    return run.batches(images, batch_size, replacement=True, **settings)


def _anp(precision):
    import tfbackdoor

    network = tfbackdoor.build_network("resnet18", _SHAPE, _CLASSES)
    anp = tfbackdoor.AdversarialNeuronPruning(network, precision=precision)
    return anp, _batches(128)


def _nad(precision):
    import tfbackdoor

    student, teacher = (
        tfbackdoor.build_network("wrn16", _SHAPE, _CLASSES) for _ in range(2)
    )
    nad = tfbackdoor.NeuralAttentionDistillation(
        student, teacher, precision=precision
    )
    return nad, _batches(64, cutout_holes=1)


def _seconds(model, batches, steps):
    start = time.monotonic()
    model.fit(batches, steps_per_epoch=steps, epochs=1, verbose=0)
    return time.monotonic() - start


def main():
    import tfbackdoor

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--strategy", default="one_device")
    given = parser.parse_args()
    print("| work | precision | XLA | ms per step | first 20 steps, s |")
    print("|---|---|---|---|---|")
    for make, precision, jit_compile in itertools.product(
        (_anp, _nad), ("mixed_bfloat16", "float32"), (True, False)
    ):
        with tfbackdoor.make_strategy(given.strategy).scope():
            model, batches = make(precision)
            model.compile(jit_compile=jit_compile)
        first = _seconds(model, batches, _FIRST_STEPS)
        later = 1000.0 * _seconds(model, batches, given.steps) / given.steps
        print(
            f"| {make.__name__[1:].upper()} | {precision} | {jit_compile} | "
            f"{later:.2f} | {first:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
