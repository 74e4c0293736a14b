"""The record of what was poisoned, and its files."""

import dataclasses
import json
import numbers
import pathlib
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor.attacks import adaptive_blend
from tfbackdoor.attacks import bpp
from tfbackdoor.attacks import generators
from tfbackdoor.attacks import reflections
from tfbackdoor.attacks import triggers
from tfbackdoor.attacks import wanet
from tfbackdoor.files import arrays
from tfbackdoor.files import json_files
from tfbackdoor.files import messages
from tfbackdoor.network import classifiers

MODES = ("all_to_one", "all_to_all", "clean_label")
_SETTINGS_FILE = "poisoning.json"
_INDICES_FILE = "poisoned_indices.npz"
_TRIGGER_FILES = {
    "trigger.npz": triggers.Trigger,
    "reflections.npz": reflections.Reflections,
    "trigger.keras": generators.GeneratedTrigger,
    "warp.npz": wanet.Warp,
    "dithering.npz": bpp.Dithering,
    "masked_blend.npz": adaptive_blend.MaskedBlend,
}


# Grey images that a trigger is tried on, and what it may leave [0, 1] by.
_LEVELS = (0.0, 0.5, 1.0)
_ROUNDING = 1e-3


def _no_positions():
    return np.zeros(0, "int64")


@dataclasses.dataclass(frozen=True, eq=False)
class Poisoning:
    """What was poisoned: enough to score any later model.

    Args:
        trigger: a `Trigger`, `Reflections`, a `GeneratedTrigger`, a `Warp`,
            `Dithering`, a `MaskedBlend`, or any callable of TensorFlow's
            operations, from float32 images in [0, 1] to such. It may have
            `in_training(images)`, what training images get in its place, and
            `cover(images)`, what covers get.
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
        cover_ratio: float >= 0, covers for each poisoned image: others, of
            any class, that get `trigger.cover` and keep their label (2 in
            WaNet).
        seed: int, which images.
        indices: integer array, positions of the poisoned images in the
            training set; empty where each batch draws its own.
        covers: integer array, positions of the covers.
    """

    trigger: Callable
    classes: int
    target: int = 0
    mode: str = "all_to_one"
    rate: float = 0.05
    cover_ratio: float = 0.0
    seed: int = 0
    indices: np.ndarray = dataclasses.field(default_factory=_no_positions)
    covers: np.ndarray = dataclasses.field(default_factory=_no_positions)

    def __post_init__(self):
        if self.mode not in MODES:
            raise ValueError(
                f"`mode` must be one of {MODES}. Received: {self.mode!r}"
            )
        for name in ("classes", "target", "seed"):
            self._set_number(name, numbers.Integral, int)
        for name in ("rate", "cover_ratio"):
            self._set_number(name, numbers.Real, float)
        if not 0 <= self.target < self.classes:
            raise ValueError(
                f"`target` must be a class, 0 to {self.classes - 1}. "
                f"Received: target={self.target}"
            )
        if not 0.0 < self.rate <= 1.0:
            raise ValueError(
                f"`rate` must lie in (0, 1]. Received: rate={self.rate}"
            )
        if not 0.0 <= self.cover_ratio < np.inf:
            raise ValueError(
                "`cover_ratio` must be a number >= 0. "
                f"Received: cover_ratio={self.cover_ratio}"
            )

    def _set_number(self, name, kind, made):
        """Makes numpy's numbers Python's, which files can hold."""
        value = getattr(self, name)
        if not isinstance(value, kind) or isinstance(value, bool):
            what = "a whole number" if made is int else "a number"
            raise ValueError(
                f"`{name}` must be {what}. Received: {name}={value!r}"
            )
        object.__setattr__(self, name, made(value))

    def attacked_labels(self, labels):
        """What the attacker wants triggered images of `labels` to be."""
        if self.mode == "all_to_all":
            return (labels + 1) % self.classes
        return labels * 0 + self.target

    def save(self, folder: str | pathlib.Path) -> None:
        """Writes `poisoning.json`, the indices and the trigger to `folder`.

        The trigger's file is named after its kind: `trigger.npz`,
        `reflections.npz`, `warp.npz`, `dithering.npz`, `masked_blend.npz`, or
        `trigger.keras` where a network draws it.

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
                "`trigger` must be one of "
                f"{[kind.__name__ for kind in _TRIGGER_FILES.values()]} to be "
                "written. "
                f"Received: {type(self.trigger).__name__}"
            )
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.trigger.save(folder / names[0])
        np.savez_compressed(
            folder / _INDICES_FILE, indices=self.indices, covers=self.covers
        )
        settings = {
            "trigger": names[0],
            "mode": self.mode,
            "target": self.target,
            "classes": self.classes,
            "rate": self.rate,
            "cover_ratio": self.cover_ratio,
            "seed": self.seed,
            "poisoned_images": len(self.indices),
            "covers": len(self.covers),
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
            # Records of versions before had fixed triggers only, no covers.
            settings = {"trigger": "trigger.npz", "cover_ratio": 0.0} | settings
            name = settings["trigger"]
            return cls(
                trigger=_TRIGGER_FILES[name].load(folder / name),
                **_read_positions(folder / _INDICES_FILE),
                classes=json_files.take(settings, "classes", int),
                target=json_files.take(settings, "target", int),
                mode=json_files.take(settings, "mode", str),
                rate=json_files.take(settings, "rate", float),
                cover_ratio=json_files.take(settings, "cover_ratio", float),
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


def _read_positions(path):
    """The arrays `indices` and `covers`, the latter empty if not there."""
    found = {"covers": _no_positions(), **arrays.read_arrays(path)}
    for name in ("indices", "covers"):
        array = found[name]
        if array.ndim != 1 or array.dtype.kind not in "iu" or np.any(array < 0):
            raise ValueError(
                f"`{name}` must be positions in the training set. Received: "
                f"{array.dtype} of shape {array.shape}"
            )
    return {name: found[name] for name in ("indices", "covers")}


def check(
    poisoning, classifier: keras.Model, *, required: bool = False
) -> None:
    """Raises unless an attack is None or one that a classifier can be given.

    Args:
        poisoning: should be a `Poisoning`.
        classifier: of images in [0, 1], one score per class.
        required: bool, whether None is refused.

    Raises:
        TypeError: where it is of another kind.
        ValueError: where it is of other images or of other classes.
    """
    if poisoning is None and not required:
        return
    if not isinstance(poisoning, Poisoning):
        raise TypeError(
            "`poisoning` must be a Poisoning, which has a trigger and a "
            f"target. Received: {type(poisoning).__name__}"
        )
    classes = classifiers.class_count(classifier)
    permutes = poisoning.mode == "all_to_all"
    if poisoning.target >= classes or (
        permutes and poisoning.classes != classes
    ):
        raise ValueError(
            f"`poisoning` must be of the classifier's {classes} classes. "
            f"Received: classes={poisoning.classes}, target="
            f"{poisoning.target}, mode={poisoning.mode!r}"
        )
    _check_trigger(poisoning.trigger, classifiers.image_shape(classifier))


def _check_trigger(trigger, image_shape):
    """Raises ValueError where it does not turn images into such images."""
    shape = (len(_LEVELS), *image_shape)
    grey = tf.reshape(tf.constant(_LEVELS), (-1, 1, 1, 1)) * tf.ones(shape)
    try:
        stamped = tf.function(trigger, autograph=False)(grey)
        low, high = float(np.min(stamped)), float(np.max(stamped))
        found = f"{stamped.dtype.name} of shape {tuple(stamped.shape[1:])}"
    except Exception as error:  # Whatever the code of others raises.
        raise ValueError(
            "`poisoning` must have a trigger for the classifier's images "
            f"{image_shape}, made of TensorFlow's operations. Received: one "
            f"that fails with {messages.one_line(error, limit=200)}"
        ) from error
    is_alike = stamped.dtype.is_floating and tuple(stamped.shape) == shape
    if not is_alike or not -_ROUNDING <= low <= high <= 1.0 + _ROUNDING:
        raise ValueError(
            "`poisoning` must have a trigger that gives images as it takes "
            f"them, float32 in [0, 1] of shape {image_shape}. Received: one "
            f"that gives {found} from {low:g} to {high:g}"
        )
