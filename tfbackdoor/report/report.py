"""The report of a purification: what a person reads, and the same as JSON."""

import dataclasses
import importlib.metadata
import json
import math
import pathlib
import platform
import sys
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor import rates
from tfbackdoor import scan as scan_module
from tfbackdoor.defenses import pruning
from tfbackdoor.report import evidence
from tfbackdoor.report import pictures
from tfbackdoor.report import plain_json

_MOST_SAMPLES = 8


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Report:
    """All that is to be told about a purification.

    Args:
        verdict: str, one sentence: the first line of the page.
        warnings: list of sentences about what looked odd, may be empty.
        scores: from row name, `"before"`, `"pruned"`, `"hardened"`,
            `"purified"` and `"retuned"` in this order, to the scores on
            held-out clean images.
        scored_on: str, which images these are and how many.
        test_scores: the same rows on test images, `{}` where there are none.
        curve: of `pruning_curve` on the held-out images, may be empty.
        chosen: the point at which was pruned; None where no threshold is safe
            or, with an empty curve, where none was looked for.
        chosen_because: str, one sentence why.
        oracle: bool, whether attack success had a say in the choice; the page
            and the JSON say so wherever they give it.
        neuron_masks: from layer name to mask `(neurons,)` in [0, 1].
        pruned: from layer name to the indices of its pruned neurons.
        hardening: str, one sentence how strongly the classifier was hardened,
            or None where it was not.
        unlearned: classes whose triggers were unlearned, may be empty.
        skipped: from layer name to the reason why it has no masks.
        clean_images: `classes` integers, how many of the clean images that
            were given are of each class; may be empty.
        samples: array `(count, height, width, channels)` in [0, 1], or without
            the axis of channels, at most 8.
        sample_labels: `count` integers, their true classes.
        predictions: from row name, `"before"` and `"purified"`, to `count`
            predicted classes.
        class_names: one name per class, or None where they have none.
        attention: from row name to a dict from tap to the attention map
            `(height, width)` of the first sample.
        scan: what the scan found, or None where there was none.
        found_triggers: the triggers of the suspected classes, may be empty.
        settings: from the name of each setting to its value.
        versions: as `versions` gives them.
        steps: what was done, each with its seconds, in order.
        seed: int.
        seconds: float >= 0, duration of the run.
        peak_memory: int >= 0, bytes as `peak_memory` gives them.
    """

    verdict: str
    warnings: list[str]
    scores: dict[str, rates.Scores]
    scored_on: str
    test_scores: dict[str, rates.Scores]
    curve: list[pruning.CurvePoint]
    chosen: pruning.CurvePoint | None
    chosen_because: str
    oracle: bool
    neuron_masks: dict[str, np.ndarray]
    pruned: dict[str, np.ndarray]
    hardening: str | None = None
    unlearned: list[int]
    skipped: dict[str, str]
    clean_images: Sequence[int] | np.ndarray = ()
    samples: np.ndarray
    sample_labels: list[int]
    predictions: dict[str, list[int]]
    class_names: list[str] | None
    attention: dict[str, dict[str, np.ndarray]]
    scan: scan_module.Scan | None = None
    found_triggers: Sequence[evidence.FoundTrigger] = ()
    settings: dict
    versions: dict[str, str]
    steps: Sequence[tuple[str, float]] = ()
    seed: int
    seconds: float
    peak_memory: int

    def __post_init__(self):
        count = len(self.samples)
        if count > _MOST_SAMPLES:
            raise ValueError(
                f"`samples` must hold at most {_MOST_SAMPLES} images. "
                f"Received: {count}"
            )
        classes = {"sample_labels": self.sample_labels, **self.predictions}
        for name, indices in classes.items():
            if len(indices) != count:
                raise ValueError(
                    "`sample_labels` and `predictions` must hold a class a "
                    f"sample, {count}. Received: {len(indices)} in {name}"
                )

    def to_json(self) -> dict:
        """What `json.dumps` takes: the fields, with images as PNG.

        Rates are shares in [0, 1] with 95 % intervals and counts. Unknown
        numbers are None. Beside the fields, `trigger_known`,
        `sample_shape`, `suspicious_neurons` and `classes`, what was recognised
        of each class before and after, are derived from them.
        """
        fields = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
        }
        fields["chosen"] = self.chosen and {
            **self.chosen.to_json(),
            "oracle": self.oracle,
        }
        if self.oracle:
            fields["chosen_because"] = f"Oracle: {self.chosen_because}"
        shape = np.shape(self.samples)[1:]
        fields["sample_shape"] = shape
        fields["samples"] = [
            pictures.picture(image) if pictures.is_drawable(shape) else None
            for image in self.samples
        ]
        fields["trigger_known"] = any(
            row.attack_success is not None and row.attack_success.total > 0
            for row in [*self.scores.values(), *self.test_scores.values()]
        )
        names = ("layer", "neuron", "mask", "pruned")
        fields["suspicious_neurons"] = [
            dict(zip(names, row))
            for row in suspicious_neurons(self.neuron_masks, self.pruned)
        ]
        fields["steps"] = [
            {"step": step, "seconds": seconds} for step, seconds in self.steps
        ]
        fields["classes"] = self._classes()
        return plain_json.plain(fields)

    def _classes(self):
        """For each class its clean images, and its recall where judged."""
        judged = {"held_out": self.scores, "test": self.test_scores}
        recalls = {name: _recalls(scores) for name, scores in judged.items()}
        return [
            {
                "class": label,
                "clean_images": count,
                **{
                    name: by_class.get(label)
                    for name, by_class in recalls.items()
                },
            }
            for label, count in enumerate(self.clean_images)
        ]

    def save(self, folder: str | pathlib.Path) -> None:
        """Writes `report.json` and `report.html` into a folder.

        Args:
            folder: made where it does not exist.
        """
        # Takes Jinja, which nothing else needs.
        from tfbackdoor.report import page

        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        content = self.to_json()
        lines = (
            f"{json.dumps(name)}: {json.dumps(value, allow_nan=False)}"
            for name, value in content.items()
        )
        (folder / "report.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
        # Names of folders may hold bytes that are no characters.
        (folder / "report.html").write_text(
            page.render(self), encoding="utf-8", errors="replace"
        )


def _recalls(scores):
    """From class to its recall before and after, and whether much was lost."""
    if not scores.keys() >= {"before", "purified"}:
        return {}
    before, purified = scores["before"], scores["purified"]
    return {
        label: {
            "before": before.recalls[label],
            "purified": purified.recalls[label],
            "fell": loss.exceeds(rates.MUCH_LOST),
        }
        for label, loss in rates.class_losses(before, purified).items()
    }


def suspicious_neurons(
    neuron_masks: dict[str, np.ndarray],
    pruned: dict[str, np.ndarray],
    count: int = 20,
) -> list[tuple[str, int, float, bool]]:
    """The neurons with the smallest masks, smallest first.

    Args:
        neuron_masks: from layer name to mask.
        pruned: from layer name to the indices of its pruned neurons.
        count: int >= 0, how many at most.

    Returns:
        Layer name, index, mask and whether it was pruned of each.
    """
    if count < 0:
        raise ValueError(f"`count` must be >= 0. Received: count={count}")
    rows = [
        (layer, index, float(value), index in gone)
        for layer, mask in neuron_masks.items()
        for gone in [set(map(int, pruned.get(layer, ())))]
        for index, value in enumerate(np.asarray(mask))
    ]
    return sorted(rows, key=lambda row: (math.isnan(row[2]), row[2]))[:count]


def versions() -> dict[str, str]:
    """Versions of Python, TensorFlow, Keras and this package."""
    try:
        own = importlib.metadata.version("tfbackdoor")
    except importlib.metadata.PackageNotFoundError:
        own = "not installed"
    return {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "tfbackdoor": own,
    }


def peak_memory() -> int:
    """Most bytes of main memory that this process held, 0 where unknown."""
    try:
        import resource
    except ImportError:  # Windows.
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
