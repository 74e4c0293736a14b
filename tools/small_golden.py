"""Makes the golden file of NAD that a clone has from the one that it has not.

    python tools/small_golden.py ../shared/golden/nad.npz

writes `tests/golden/nad_small.npz`. The teacher is left out: a step needs of it
the attention maps alone, which stay the same. Of the student after three
steps the four largest kernels are left out, whose values the losses of the
later steps depend on. Images and labels are those of `tests/golden/anp.npz`.
"""

import pathlib
import sys

import numpy as np

_GOLDEN = pathlib.Path(__file__).parents[1] / "tests" / "golden"
_AFTER = "student_after_3_steps/"
_LEFT_OUT = tuple(
    f"{_AFTER}block3.layer.{block}.conv{number}.weight"
    for block in (0, 1)
    for number in (1, 2)
)


def main(path):
    with np.load(path) as arrays, np.load(_GOLDEN / "anp.npz") as anp:
        for name in ("images", "labels"):
            np.testing.assert_array_equal(arrays[name], anp[name])
        kept = {
            name: arrays[name]
            for name in arrays.files
            if name.startswith(("student/", "step", _AFTER))
            and name not in _LEFT_OUT
        }
        for tap in (1, 2, 3):
            # They lie in [0, 1] and add up to about 1 in square.
            maps = arrays[f"attention/teacher{tap}"]
            kept[f"attention/teacher{tap}"] = maps.astype("float32")
    np.savez_compressed(_GOLDEN / "nad_small.npz", **kept)


if __name__ == "__main__":
    main(*sys.argv[1:])
