"""The door: every entry point sees a classifier and images through it."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor.data import pairs as pairs_module
from tfbackdoor.files import messages
from tfbackdoor.network import adapting
from tfbackdoor.network import classifiers
from tfbackdoor.network import copying
from tfbackdoor.network import facts
from tfbackdoor.network import graph
from tfbackdoor.network import reading
from tfbackdoor.network import refusals
from tfbackdoor.network import value_range

_COMPARED = 32
_TOLERANCE = 1e-3


@dataclasses.dataclass(frozen=True, eq=False)
class Admitted:
    """A classifier and images as this package computes with them.

    Args:
        original: the classifier that came in.
        classifier: the same weights, taking float32 images `(height, width,
            channels)` in [0, 1], giving one score per class.
        images: unbatched data set of `(image, label)`, float32 in [0, 1] and
            int64.
        values: what the original's pixels are.
        sample: images and labels, drawn from all alike, at most 500.

    Until the user's call ends, see `public_call`, `classifier` and copies of
    it are taken as they are.
    """

    original: keras.Model
    classifier: keras.Model
    images: tf.data.Dataset
    values: value_range.ValueRange
    sample: tuple[np.ndarray, np.ndarray]

    def restore(self, changed: keras.Model) -> keras.Model:
        """`changed`, a copy of the classifier, as its owner gave it."""
        return adapting.restore(changed, self.classifier, self.original)

    def admit_alike(self, other: keras.Model) -> keras.Model:
        """Another classifier of the same owner's images, made ready."""
        size = facts.facts_of(self.classifier).image_shape[:2]
        conforming = adapting.conform(other, image_size=size)
        adapted = self.values.adapt(conforming)
        facts.facts_of(adapted).admit()
        return adapted

    def more(self, data, *, name: str = "test") -> tf.data.Dataset:
        """Other images of the same owner, in the same form, and checked."""
        pairs = pairs_module.as_pairs(data, name)
        images, found = reading.read_images(self.classifier, pairs, name)
        value_range.check_alike(
            self.classifier, found.sample, self.values, name=name
        )
        return images


def admit(
    classifier: keras.Model,
    data,
    *,
    name: str = "clean",
    output: str | None = None,
    preprocess=None,
    several_classes: bool = True,
    above_chance: bool = False,
    in_memory: bool = True,
    differentiable: bool = False,
    copyable: bool = False,
) -> Admitted:
    """A classifier and labelled images as they came, made ready or refused.

    Args:
        classifier: built Keras classifier; it is not changed. See
            `adapting.conform` for what is put right.
        data: labelled images, see `labelled.labelled_images`.
        name: what the data are called in messages.
        output: name of the output that gives the class scores, where there
            are several.
        preprocess: see `find_value_range`.
        several_classes: bool, whether images of a single class are refused.
        above_chance: bool, whether a classifier is refused that is no better
            than chance whatever is done to images.
        in_memory: bool, whether the images are read into memory.
        differentiable: bool, whether a classifier is refused through which
            gradients do not pass to the images.
        copyable: bool, whether one that cannot be copied is refused.

    Raises:
        TypeError: where either is of another kind.
        ValueError: in one sentence, where they will not do.
    """
    refusals.check_kind(classifier)
    pairs = pairs_module.as_pairs(data, name)
    conforming = adapting.conform(
        classifier,
        image_size=reading.image_size(pairs),
        output=output,
        trains=differentiable,
    )
    images, found = reading.read_images(
        conforming,
        pairs,
        name,
        several_classes=several_classes,
        in_memory=in_memory,
    )
    is_new = not facts.facts_of(classifier).is_admitted
    if is_new:
        refusals.check_weights(classifier)
    scores_of = classifiers.compiled_scores(conforming) if is_new else None
    values = _value_range(
        classifier,
        conforming,
        found.sample,
        preprocess=preprocess,
        above_chance=above_chance,
        name=name,
        scores_of=scores_of,
    )
    adapted = values.adapt(conforming)
    if preprocess is not None and adapted is classifier:
        # What its owner says holds for this call alone.
        adapted = adapting.adapt(classifier, lambda images: images)
    if is_new:
        if adapted is not conforming:
            scores_of = classifiers.compiled_scores(adapted)
        _check_scores(adapted.name, scores_of, found.sample[0])
    if differentiable:
        _check_gradient(adapted, found.sample[0])
    if copyable:
        _check_precision(classifier)
        _check_copy(adapted, found.sample[0])
    admitted = Admitted(classifier, adapted, images, values, found.sample)
    facts.facts_of(adapted).admit()
    return admitted


def _value_range(classifier, conforming, sample, **settings):
    """The range that is known of the classifier, or is found and noted.

    What is known was found on other images, or on a copy with other weights.
    """
    known, is_given = facts.facts_of(classifier), settings["preprocess"]
    if is_given is None and known.is_admitted:
        return value_range.AS_GIVEN
    noted = known.value_range if is_given is None else None
    if noted and value_range.still_holds(noted, conforming, sample):
        return noted
    values = value_range.range_of_sample(conforming, sample, **settings)
    if is_given is None and values.is_certain:
        known.value_range = values
    return values


def _check_scores(name, scores_of, images):
    """Raises ValueError on scores that are no numbers."""
    scores = scores_of(images[:_COMPARED])
    wrong = (np.isnan(scores) | (scores == np.inf)).any(axis=1).sum()
    if wrong:
        raise ValueError(
            "`classifier` must give scores that are finite numbers. Received: "
            f"{name}, which does not for {wrong} of {len(scores)} "
            "images."
        )


def _check_gradient(classifier, images):
    """Raises ValueError where no gradient reaches the images."""
    image = tf.constant(images[:1])
    with tf.GradientTape() as tape:
        tape.watch(image)
        scores = graph.call(classifier, image)
    if tape.gradient(scores, image) is None:
        raise ValueError(
            "`classifier` must let gradients through to its images: take out "
            "what rounds them or makes them integers. Received: "
            f"{classifier.name}, whose scores have no gradient."
        )


def _check_precision(classifier):
    """Raises ValueError on weights too coarse to be trained."""
    if any(weight.dtype == "float16" for weight in classifier.weights):
        raise ValueError(
            "`classifier` must hold weights that can be trained: build it in "
            "'float32' or 'mixed_float16' and set the weights of this one. "
            f"Received: {classifier.name}, with weights of float16."
        )


def _check_copy(classifier, images):
    """Raises ValueError where a copy would compute something else."""
    images = images[:_COMPARED]
    expected = classifiers.scores_of(classifier, images)
    copy = copying.copy_classifier(classifier)
    fault, cause = "gives other scores", None
    try:
        received = classifiers.scores_of(copy, images)
        scale = max(1.0, float(np.abs(expected).max()))
        if np.abs(expected - received).max() <= _TOLERANCE * scale:
            return
    except Exception as error:  # Whatever the code of others raises.
        reason = messages.one_line(error, limit=200)
        fault, cause = f"fails with {reason}", error
    raise ValueError(
        "`classifier` must be a model that Keras can copy, with all that its "
        "layers compute with in get_config or in weights. Received: "
        f"{classifier.name}, whose copy {fault}; its layers of "
        f"other make are {copying.foreign_layers(classifier)}"
    ) from cause
