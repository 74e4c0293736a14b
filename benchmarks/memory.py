"""Peak memory of ANP against that of ordinary training steps.

    python benchmarks/memory.py [--width=0.5] [--precision=mixed_bfloat16]

The peak resident set of a process of its own for each, TensorFlow included;
what TensorFlow alone takes is the first row.
"""

import argparse
import functools
import multiprocessing
import resource

_STEPS = 6


def _start(**settings):
    import work  # noqa: F401


def _train(**settings):
    import work

    work.training_steps(_STEPS, **settings)()


def _prune(**settings):
    import work

    work.anp_iterations(_STEPS, **settings)()


def _peak(job, pipe):
    job()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pipe.send(peak / 2**20)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--precision", default="float32")
    settings = vars(parser.parse_args())
    print("| | peak, GiB |\n|---|---|")
    context = multiprocessing.get_context("spawn")
    for name, job in (
        ("start-up alone", _start),
        ("ordinary training steps", _train),
        ("ANP iterations", _prune),
    ):
        ours, theirs = context.Pipe()
        work = functools.partial(job, **settings)
        process = context.Process(target=_peak, args=(work, theirs))
        process.start()
        print(f"| {name} | {ours.recv():.2f} |", flush=True)
        process.join()


if __name__ == "__main__":
    main()
