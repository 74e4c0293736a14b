"""One NAD step on WRN-16-1, batch 64.

python benchmarks/nad_step.py
"""

import argparse
import functools

import side_by_side

_STEPS, _EPOCHS = 39, 4  # 2,500 images an epoch, as in the paper.
_UNITS = _STEPS * _EPOCHS
_BATCH = 64


def _pytorch(fast):
    import pytorch_baseline

    return pytorch_baseline.repeated(
        pytorch_baseline.nad_step(fast=fast), _UNITS, _BATCH, cutout_length=9
    )


def _keras(precision):
    import work

    return work.nad_steps(_STEPS, epochs=_EPOCHS, precision=precision)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    seconds = side_by_side.compare(
        {
            "plain PyTorch": functools.partial(_pytorch, False),
            "PyTorch, autocast (bfloat16), channels_last": functools.partial(
                _pytorch, True
            ),
            "tfbackdoor, float32": functools.partial(_keras, "float32"),
            "tfbackdoor, bfloat16": functools.partial(_keras, "mixed_bfloat16"),
        },
        rounds=rounds,
        units=_UNITS,
    )
    side_by_side.print_table(f"One NAD step, WRN-16-1, batch {_BATCH}", seconds)


if __name__ == "__main__":
    main()
