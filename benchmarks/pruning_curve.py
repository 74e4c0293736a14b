"""The pruning curve of 19 thresholds on clean and triggered test images.

    python -m launch.train --dataset=cifar10 --width=0.5 --epochs=12 \\
        --schedule=cosine --output=badnets
    python -m launch.anp --classifier=badnets/classifier.keras \\
        --dataset=cifar10 --output=purified
    python benchmarks/pruning_curve.py --attacked=badnets --purified=purified

Our curve is timed once for each of `--margins`: on as many images as bring the
95 % intervals of each point within so much of their middle, on all images where
it is 0. A full evaluation for each threshold takes long: `--images` says how
many test images to use.
"""

import argparse
import functools
import pathlib

import side_by_side

_PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
_THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))


def _pytorch(width, count):
    import pytorch_baseline
    import torch

    def images(count):
        return torch.rand(count, 3, 32, 32), torch.randint(10, (count,))

    clean, triggered = images(count), images(count * 9 // 10)
    return functools.partial(
        pytorch_baseline.pruning_curve,
        clean,
        triggered,
        _THRESHOLDS,
        width=width,
    )


def _keras(arguments, precision, margin):
    import tfbackdoor

    attacked = pathlib.Path(arguments.attacked)
    images = tfbackdoor.in_memory(
        tfbackdoor.load_images(
            "cifar10", "test", data_dir=arguments.data_dir
        ).take(arguments.images)
    )
    return functools.partial(
        tfbackdoor.pruning_curve,
        tfbackdoor.load_classifier(attacked / "classifier.keras"),
        tfbackdoor.files.read_arrays(
            pathlib.Path(arguments.purified, "neuron_masks.npz")
        ),
        images,
        tfbackdoor.Poisoning.load(attacked),
        thresholds=_THRESHOLDS,
        margin=margin,
        precision=precision,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--attacked", required=True)
    parser.add_argument("--purified", required=True)
    parser.add_argument("--data_dir")
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--margins", type=float, nargs="+", default=[0.0, 0.02])
    arguments = parser.parse_args()
    seconds = side_by_side.compare(
        {
            "plain PyTorch": functools.partial(
                _pytorch, arguments.width, arguments.images
            ),
            **{
                f"tfbackdoor, {name}, margin {margin:g}": functools.partial(
                    _keras, arguments, precision, margin
                )
                for name, precision in _PRECISIONS.items()
                for margin in arguments.margins
            },
        },
        rounds=1,
        warm_up=False,
    )
    side_by_side.print_table(
        f"Pruning curve of {len(_THRESHOLDS)} thresholds, ResNet-18 of width "
        f"{arguments.width:g}, {arguments.images} clean and as many triggered "
        "images less those of the target class",
        seconds,
    )


if __name__ == "__main__":
    main()
