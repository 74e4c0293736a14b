"""Poisoned training sets, and the record of what was poisoned."""

import dataclasses
import json
import pathlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfbackdoor.attacks import generators
from tfbackdoor.attacks import reflections
from tfbackdoor.attacks import triggers
from tfbackdoor.data import sampling
from tfbackdoor.files import arrays
from tfbackdoor.files import json_files

MODES = ("all_to_one", "all_to_all", "clean_label")
_SETTINGS_FILE = "poisoning.json"
_INDICES_FILE = "poisoned_indices.npz"
_TRIGGER_FILES = {
    "trigger.npz": triggers.Trigger,
    "reflections.npz": reflections.Reflections,
    "trigger.keras": generators.GeneratedTrigger,
}


@dataclasses.dataclass(frozen=True, eq=False)
class Poisoning:
    """What was poisoned: enough to score any later model.

    Args:
        trigger: a `Trigger`, `Reflections`, a `GeneratedTrigger`, or any
            callable from images to images.
        classes: int, number of classes.
        target: int, the attacker's class; with `"all_to_all"` it is unused.
        mode: `"all_to_one"` (label becomes `target`), `"all_to_all"` (label
            becomes label + 1) or `"clean_label"` (images of `target` keep
            their label).
        rate: float in (0, 1], share of the eligible images poisoned: those
            outside the target class for `"all_to_one"` (5 % in ANP), all for
            `"all_to_all"`, those of the target class for `"clean_label"`
            (80 % in ANP). Where the trigger is trained with the classifier,
            the share of each batch.
        seed: int, which images.
        indices: integer array, positions of the poisoned images in the
            training set; empty where each batch draws its own.
    """

    trigger: Callable
    classes: int
    target: int = 0
    mode: str = "all_to_one"
    rate: float = 0.05
    seed: int = 0
    indices: np.ndarray = dataclasses.field(
        default_factory=lambda: np.zeros(0, "int64")
    )

    def __post_init__(self):
        if self.mode not in MODES:
            raise ValueError(
                f"`mode` must be one of {MODES}. Received: {self.mode!r}"
            )
        if not 0 <= self.target < self.classes:
            raise ValueError(
                f"`target` must be a class, 0 to {self.classes - 1}. "
                f"Received: target={self.target}"
            )
        if not 0.0 < self.rate <= 1.0:
            raise ValueError(
                f"`rate` must lie in (0, 1]. Received: rate={self.rate}"
            )

    def attacked_labels(self, labels):
        """What the attacker wants triggered images of `labels` to be."""
        if self.mode == "all_to_all":
            return (labels + 1) % self.classes
        return labels * 0 + self.target

    def save(self, folder: str | pathlib.Path) -> None:
        """Writes `poisoning.json`, the indices and the trigger to `folder`.

        The trigger is `trigger.npz`, `reflections.npz`, or `trigger.keras`
        where a network draws it.

        Raises:
            TypeError: where the trigger is any other callable, which has no
                file.
        """
        names = [
            name
            for name, kind in _TRIGGER_FILES.items()
            if isinstance(self.trigger, kind)
        ]
        if not names:
            raise TypeError(
                "`trigger` must be a Trigger, Reflections or a "
                "GeneratedTrigger to be written. "
                f"Received: {type(self.trigger).__name__}"
            )
        folder = pathlib.Path(folder)
        self.trigger.save(folder / names[0])
        np.savez_compressed(folder / _INDICES_FILE, indices=self.indices)
        settings = {
            "trigger": names[0],
            "mode": self.mode,
            "target": self.target,
            "classes": self.classes,
            "rate": self.rate,
            "seed": self.seed,
            "poisoned_images": len(self.indices),
        }
        (folder / _SETTINGS_FILE).write_text(json.dumps(settings, indent=2))

    @classmethod
    def load(cls, folder: str | pathlib.Path) -> "Poisoning":
        """Reads what `save` wrote; nothing is unpickled and no code is run.

        Raises:
            ValueError: where a file is missing or not as `save` writes it.
        """
        folder = pathlib.Path(folder)
        try:
            settings = json_files.read_json(folder / _SETTINGS_FILE)
            # Records of versions before had fixed triggers only.
            name = settings.get("trigger", "trigger.npz")
            return cls(
                trigger=_TRIGGER_FILES[name].load(folder / name),
                indices=_read_indices(folder / _INDICES_FILE),
                classes=json_files.take(settings, "classes", int),
                target=json_files.take(settings, "target", int),
                mode=json_files.take(settings, "mode", str),
                rate=json_files.take(settings, "rate", float),
                seed=json_files.take(settings, "seed", int),
            )
        except (
            AttributeError,
            OSError,
            KeyError,
            TypeError,
            ValueError,
        ) as error:
            raise ValueError(
                f"`folder` must hold {_SETTINGS_FILE}, {_INDICES_FILE} and "
                f"one of {', '.join(_TRIGGER_FILES)}. Received: {folder}, "
                f"where reading fails with {type(error).__name__}: {error}"
            ) from error


def _read_indices(path):
    indices = arrays.read_arrays(path)["indices"]
    if (
        indices.ndim != 1
        or indices.dtype.kind not in "iu"
        or np.any(indices < 0)
    ):
        raise ValueError(
            "`indices` must be positions in the training set. Received: "
            f"{indices.dtype} of shape {indices.shape}"
        )
    return indices


def poison(
    images: tf.data.Dataset, poisoning: Poisoning
) -> tuple[tf.data.Dataset, Poisoning]:
    """Poisons a share of a training set.

    Args:
        images: unbatched data set of `(image, label)` of known cardinality.
        poisoning: the attack; its `indices` are ignored.

    Returns:
        The poisoned data set, in the same order, and `poisoning` with the
        indices of the poisoned images.

    Raises:
        ValueError: where no image is eligible.
    """
    labels = sampling.labels_of(images)
    indices = _choose(labels, poisoning)
    chosen = np.zeros(len(labels), bool)
    chosen[indices] = True
    chosen = tf.constant(chosen)

    def poison_element(index, element):
        image, label = element
        return tf.cond(
            chosen[index],
            lambda: (
                poisoning.trigger(image),
                poisoning.attacked_labels(label),
            ),
            lambda: (image, label),
        )

    poisoned = images.enumerate().map(
        poison_element, num_parallel_calls=tf.data.AUTOTUNE
    )
    return poisoned, dataclasses.replace(poisoning, indices=indices)


def _choose(labels, poisoning):
    """Sorted random indices, `rate` of the images that may be poisoned."""
    if poisoning.mode == "all_to_one":
        eligible = np.flatnonzero(labels != poisoning.target)
    elif poisoning.mode == "clean_label":
        eligible = np.flatnonzero(labels == poisoning.target)
    else:
        eligible = np.arange(len(labels))
    count = round(poisoning.rate * len(eligible))
    if count == 0:
        raise ValueError(
            "`rate` must poison at least one image. Received: "
            f"rate={poisoning.rate} of {len(eligible)} eligible images"
        )
    rng = np.random.default_rng(poisoning.seed)
    return np.sort(rng.choice(eligible, count, replace=False))
