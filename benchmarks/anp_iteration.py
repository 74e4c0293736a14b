"""One ANP iteration on the CIFAR ResNet-18, batch 128.

python benchmarks/anp_iteration.py [--width=0.5]
"""

import argparse
import functools

import side_by_side

_UNITS = 4
_BATCH = 128


def _pytorch(width, fast):
    import pytorch_baseline

    step = pytorch_baseline.anp_iteration(width=width, fast=fast)
    return pytorch_baseline.repeated(step, _UNITS, _BATCH)


def _keras(width, precision):
    import work

    return work.anp_iterations(_UNITS, width=width, precision=precision)


def _convolutions(width, precision):
    import work

    return work.convolutions(_UNITS, width=width, precision=precision)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    width = arguments.width
    seconds = side_by_side.compare(
        {
            "plain PyTorch": functools.partial(_pytorch, width, False),
            "PyTorch, autocast (bfloat16), channels_last": functools.partial(
                _pytorch, width, True
            ),
            "tfbackdoor, float32": functools.partial(_keras, width, "float32"),
            "tfbackdoor, bfloat16": functools.partial(
                _keras, width, "mixed_bfloat16"
            ),
            "its convolutions alone, float32": functools.partial(
                _convolutions, width, "float32"
            ),
            "its convolutions alone, bfloat16": functools.partial(
                _convolutions, width, "mixed_bfloat16"
            ),
        },
        rounds=arguments.rounds,
        units=_UNITS,
    )
    side_by_side.print_table(
        f"One ANP iteration, ResNet-18 of width {width:g}, batch {_BATCH}",
        seconds,
    )


if __name__ == "__main__":
    main()
