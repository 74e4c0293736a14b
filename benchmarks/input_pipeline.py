"""How much faster batches come than the steps that they feed.

python benchmarks/input_pipeline.py [--precision=mixed_bfloat16]
"""

import argparse
import functools

import side_by_side

_ANP_STEPS, _NAD_STEPS, _TEST_IMAGES = 20, 50, 2560


def _batches(name, count):
    import work

    batches = getattr(work, name)(count)
    return lambda: batches.reduce(0, lambda total, _: total + 1)


def _steps(name, count, **settings):
    import work

    return getattr(work, name)(count, **settings)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--precision", default="float32")
    precision = {"precision": parser.parse_args().precision}
    partial = functools.partial
    for title, units, step, batches in (
        (
            "ANP on ResNet-18, batches of 128, crop and flip",
            _ANP_STEPS,
            partial(_steps, "anp_iterations", _ANP_STEPS, **precision),
            partial(_batches, "anp_batches", _ANP_STEPS),
        ),
        (
            "NAD on WRN-16-1, batches of 64, crop, flip and Cutout",
            _NAD_STEPS,
            partial(_steps, "nad_steps", _NAD_STEPS, **precision),
            partial(_batches, "nad_batches", _NAD_STEPS),
        ),
        (
            "Evaluation of ResNet-18, an image",
            _TEST_IMAGES,
            partial(_steps, "evaluation", _TEST_IMAGES),
            partial(_batches, "test_batches", _TEST_IMAGES),
        ),
    ):
        seconds = side_by_side.compare(
            {"step": step, "input pipeline": batches}, rounds=3, units=units
        )
        side_by_side.print_table(title, seconds)


if __name__ == "__main__":
    main()
