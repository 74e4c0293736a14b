"""Time and memory of `purify` as images, classes and network grow.

    python benchmarks/cost.py [--share=0.1] [--figure=cost.svg]

One quantity grows and the others stay: ResNet-18 of quarter width, 32x32
pixels, 10 classes, 500 images. Each point has a process of its own; memory is
the peak above what loading takes. `--share` is that of the default steps. All
weights are random but the head's, as in `memory.py`.
"""

import argparse
import dataclasses
import pathlib
import time

import memory

import tfbackdoor
from tfbackdoor.defend import defense_settings
from tfbackdoor.report import canvas

_STEPS = ("scan_steps", "hardening_steps", "recovery_steps")


@dataclasses.dataclass(frozen=True)
class Work:
    """What is purified."""

    size: int = 32
    classes: int = 10
    width: float = 0.25
    images: int = 500


# From what grows to the values that it takes.
_GROWING = {
    "size": (32, 64, 96),
    "classes": (10, 40, 160),
    "width": (0.25, 0.5, 1.0),
    "images": (250, 500, 1000, 2000),
}
_TITLES = {
    "size": "side of the images, pixels",
    "classes": "classes",
    "width": "width of the network",
    "images": "clean images",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--figure", type=pathlib.Path)
    given = parser.parse_args()
    defaults = defense_settings("purify")
    steps = {
        name: max(2, round(given.share * defaults[name])) for name in _STEPS
    }
    costs = {}
    print("| side | classes | width | images | seconds | GiB |")
    print("|---|---|---|---|---|---|")
    for work in all_works():
        costs[work] = memory.apart(_measure, work, steps)
        seconds, gib = costs[work]
        cells = [*dataclasses.astuple(work), f"{seconds:.0f}", f"{gib:.2f}"]
        print("|", " | ".join(map(str, cells)), "|", flush=True)
    if given.figure is not None:
        draw(costs, given.figure)


def all_works():
    """Each point once, in order."""
    return dict.fromkeys(
        dataclasses.replace(Work(), **{name: value})
        for name, values in _GROWING.items()
        for value in values
    )


def _measure(pipe, work, steps):
    """Sends seconds, and GiB above loading."""
    tfbackdoor.set_seed(0)
    classifier = tfbackdoor.build_network(
        "resnet18", (work.size, work.size, 3), work.classes, width=work.width
    )
    pixels, labels = memory.coloured_noise(work.images, work.size, work.classes)
    memory.teach_head(classifier, pixels, labels)
    clean = tfbackdoor.from_arrays(pixels, labels)
    loaded, start = memory.peak(), time.monotonic()
    tfbackdoor.purify(
        classifier, clean, preprocess="[0, 1]", verbose=0, **steps
    )
    pipe.send((time.monotonic() - start, memory.peak() - loaded))


def draw(costs, path):
    """A panel for each quantity, seconds and GiB on axes of their own."""
    figure, axes = canvas.panels(len(_GROWING), cell=(2.6, 2.2))
    for axis, (name, values) in zip(axes, _GROWING.items()):
        points = [
            costs[dataclasses.replace(Work(), **{name: value})]
            for value in values
        ]
        seconds, gib = zip(*points)
        axis.plot(values, seconds, "o-", color=canvas.PALETTE[1])
        axis.set_ylim(bottom=0)
        axis.set_xlabel(_TITLES[name])
        axis.set_ylabel("seconds", color=canvas.PALETTE[1])
        beside = axis.twinx()
        beside.plot(values, gib, "s--", color=canvas.PALETTE[2])
        beside.set_ylim(bottom=0)
        beside.set_ylabel("GiB", color=canvas.PALETTE[2])
    canvas.save(figure, path)


if __name__ == "__main__":
    main()
