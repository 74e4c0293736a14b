"""Every defence with its paper's settings, behind one call."""

import inspect
from collections.abc import Iterable

import keras
import tensorflow as tf

from tfbackdoor import classifiers
from tfbackdoor import sampling
from tfbackdoor.defenses import baselines
from tfbackdoor.defenses import conditions as conditions_module
from tfbackdoor.defenses import papers

DEFENCES = {
    "fine_tuning": baselines.by_fine_tuning,
    "fine_pruning": baselines.by_fine_pruning,
    "mode_connectivity": baselines.by_mode_connectivity,
    "nad": papers.by_nad,
    "anp": papers.by_anp,
}


def defend(
    defence: str,
    classifier: keras.Model,
    clean: tf.data.Dataset,
    *,
    flip: bool = True,
    padding: int = 4,
    seed: int = 0,
    precision: str | None = None,
    small: bool = False,
    verbose="auto",
    **settings,
) -> conditions_module.Defended:
    """Purifies a copy of a classifier by a defence of the papers.

    What a defence has to choose it chooses on clean images that it holds out
    from those given. No defence sees the attack.

    Args:
        defence: a key of `DEFENCES`: `"fine_tuning"`, `"fine_pruning"`,
            `"mode_connectivity"`, `"nad"` or `"anp"`.
        classifier: built Keras classifier; it is not changed.
        clean: unbatched data set of clean `(image, label)` in [0, 1].
        flip: bool, whether clean images are mirrored; digits and traffic
            signs must not be.
        padding: int >= 0, pixels of the random crop (4 in both papers).
        seed: int, of every draw.
        precision: `"float32"`, `"mixed_bfloat16"`, or None for the
            classifier's own.
        small: bool, whether the same path is run in a few seconds.
        verbose: Keras' verbosity.
        **settings: of the defence: the keyword arguments of its recipe in
            `DEFENCES`, such as `epochs`.

    Returns:
        The purified `.classifier`, with the steps in between and what was
        chosen.

    Raises:
        ValueError: on an unknown defence, with the valid names, or where the
            classifier or the images will not do.
        TypeError: on a setting that the defence does not have.

    Example:
        purified = defend("nad", classifier, clean, epochs=20).classifier
    """
    check_defence(defence, settings)
    classifiers.check_classifier(classifier)
    clean = sampling.in_memory(clean)
    classifiers.check_images(classifier, clean.batch(256))
    conditions = conditions_module.Conditions(
        flip=flip,
        padding=padding,
        seed=seed,
        precision=precision,
        small=small,
        verbose=verbose,
    )
    return DEFENCES[defence](classifier, clean, conditions, **settings)


def check_defence(defence: str, settings: Iterable[str] = ()) -> None:
    """Raises, with the valid names, where `defend` would not take these.

    Args:
        defence: should be a key of `DEFENCES`.
        settings: names that should be settings of its recipe.

    Raises:
        ValueError: on an unknown defence.
        TypeError: on a setting that the defence does not have.
    """
    if defence not in DEFENCES:
        raise ValueError(
            f"`defence` must be one of {sorted(DEFENCES)}. "
            f"Received: {defence!r}"
        )
    parameters = inspect.signature(DEFENCES[defence]).parameters.values()
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    if unknown := [name for name in settings if name not in known]:
        raise TypeError(
            f"`settings` of {defence} must be some of {known}. "
            f"Received: {unknown}"
        )
