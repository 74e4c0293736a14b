"""Which preprocessing of pixels in [0, 1] a classifier was trained with."""

import dataclasses
import weakref
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor import rates
from tfbackdoor.data import survey
from tfbackdoor.network import adapting
from tfbackdoor.network import batch_size
from tfbackdoor.network import classifiers
from tfbackdoor.network import preprocessing

_CLEARLY_BETTER = 0.05
_FEWEST_IMAGES = 20
# Of images as given, or of others: how far above chance accuracy is believed
# in any case, and below that how much surer than right a classifier may be.
_BELIEVED_SKILL = {True: 0.4, False: 0.6}
_MOST_OVERCONFIDENCE = {True: 0.3, False: 0.25}
_MOST_DISAGREEMENT = 0.15
_TOLD_APART = 0.5

_originals = weakref.WeakKeyDictionary()


@dataclasses.dataclass(frozen=True)
class ValueRange:
    """What turns images in [0, 1] into those that a classifier takes.

    Args:
        name: a name of `preprocessing.RANGES`, such as `"[0, 255]"`, or that
            of the owner's function.
        accuracies: from each range tried to the clean accuracy that it gives.
        function: what is done to images; default that of `name`.
        is_certain: bool, whether accuracy under it speaks for it.
    """

    name: str
    accuracies: dict[str, rates.Rate]
    function: Callable | None = None
    is_certain: bool = True

    def adapt(self, classifier: keras.Model) -> keras.Model:
        """A classifier of images in [0, 1] that shares all its weights."""
        if self.name == preprocessing.UNIT:
            adapted = classifier
        else:
            function = self.function or preprocessing.RANGES[self.name][0]
            adapted = adapting.adapt(classifier, function)
            _originals[adapted] = classifier
        return adapted

    def restore(self, adapted: keras.Model) -> keras.Model:
        """The classifier of its own range that was adapted."""
        return _originals.get(adapted, adapted)


AS_GIVEN = ValueRange(preprocessing.UNIT, {})


def find_value_range(
    classifier: keras.Model, clean: tf.data.Dataset, *, preprocess=None
) -> ValueRange:
    """The preprocessing under which a classifier answers clean images best.

    Tries [0, 1], [0, 255], [-1, 1], the means and deviations of ImageNet,
    CIFAR-10 and MNIST, Caffe's BGR and per-image standardisation on 500 images
    drawn from all. Images stay as they are unless another range gives over 5
    points of accuracy more.

    Args:
        classifier: built Keras classifier.
        clean: unbatched data set of clean `(image, label)` in [0, 1].
        preprocess: what the owner does to images, in place of trying: a name
            such as `"[0, 255]"`, which is taken as it is; or a function of
            TensorFlow or `keras.ops`, of float32 images in [0, 1] (in
            [0, 255] for a `preprocess_input` of `keras.applications`), with
            which accuracy must be above chance.

    Fewer than 20 images, or images of one class, cannot tell: they stay as
    they are, unless the classifier itself begins by dividing by 255.

    Raises:
        ValueError: where no range gives an accuracy to believe; the message
            says what each gives, and whether the classes are told apart in
            another order than that of the labels. An accuracy is not to be
            believed that is no better than chance, or far below how sure the
            classifier is of its answers; nor a range that is hardly better
            than another that gives other answers.
    """
    size = batch_size.batch_size_for(classifier)
    found = survey.survey(clean.batch(size))
    return range_of_sample(classifier, found.sample, preprocess=preprocess)


def range_of_sample(
    classifier: keras.Model,
    sample: tuple[np.ndarray, np.ndarray],
    *,
    preprocess=None,
    above_chance: bool = True,
) -> ValueRange:
    """As `find_value_range`, on `(images, labels)` drawn from all.

    Where accuracy need not be `above_chance`, images stay as they are if the
    classifier gives the same answers under all ranges: none is to blame.
    """
    shape = classifiers.image_shape(classifier)
    if preprocess is not None:
        name, function = preprocessing.function_of(preprocess, shape)
        if isinstance(preprocess, str):
            return ValueRange(name, {}, function)
        tried = {name: _Trial(classifier, function, *sample)}
        _check_above_chance(tried, name, sample[1])
        return ValueRange(name, {name: tried[name].accuracy}, function)
    known = preprocessing.known_ranges(shape[-1])
    tried = {}
    for name, function in known.items():
        tried[name] = _Trial(classifier, function, *sample)
        if is_enough(sample) and tried[name].suffices:
            break
    best, certain = _best(tried), is_enough(sample)
    if not above_chance and _answer_alike(tried):
        best, certain = preprocessing.UNIT, False
    elif certain:
        _check(tried, best, sample[1])
    else:
        best = preprocessing.declared_range(classifier)
        if best is None:
            best = preprocessing.UNIT
            _check_one_class(tried, best, sample[1])
    accuracies = {name: trial.accuracy for name, trial in tried.items()}
    return ValueRange(best, accuracies, known[best], certain)


def clearly_right(
    classifier: keras.Model, sample: tuple[np.ndarray, np.ndarray]
) -> tuple[str, rates.Rate, rates.Rate] | None:
    """A range that is better than [0, 1] beyond chance, None if none is.

    Returns:
        Its name, the accuracy that it gives, and that of [0, 1].
    """
    shape, count = classifiers.image_shape(classifier), len(sample[1])
    known = preprocessing.known_ranges(shape[-1])
    unit = known.pop(preprocessing.UNIT)
    given = _Trial(classifier, unit, *sample).accuracy
    if given.interval[1] >= rates.Rate(count, count).interval[0]:
        return None
    tried = {
        name: _Trial(classifier, function, *sample).accuracy
        for name, function in known.items()
    }
    best = max(tried, key=lambda name: tried[name].value)
    if tried[best].interval[0] <= max(given.interval[1], _chance(sample[1])):
        return None
    return best, tried[best], given


def is_enough(sample: tuple[np.ndarray, np.ndarray]) -> bool:
    """Whether there are images enough, of several classes, to tell."""
    _, labels = sample
    return len(labels) >= _FEWEST_IMAGES and len(np.unique(labels)) > 1


class _Trial:
    """How a classifier answers the sample under one preprocessing."""

    def __init__(self, classifier, function, images, labels):
        size = batch_size.batch_size_for(classifier)
        scores = np.concatenate(
            [
                classifiers.scores_of(
                    classifier, function(tf.constant(images[i : i + size]))
                )
                for i in range(0, len(images), size)
            ]
        )
        logs = keras.ops.convert_to_numpy(
            classifiers.log_probabilities(
                scores, classifiers.gives_logits(classifier)
            )
        )
        self.answers = np.argmax(scores, axis=1)
        right = self.answers == labels
        self.accuracy = rates.Rate(int(right.sum()), len(labels))
        self.likelihood = float(np.mean(logs[np.arange(len(labels)), labels]))
        self.confidence = float(np.mean(np.exp(logs.max(axis=1))))

    @property
    def suffices(self):
        """Whether no other range can be clearly better."""
        return self.accuracy.value >= 1.0 - _CLEARLY_BETTER


def _answer_alike(tried):
    """Whether several ranges were tried and all give the same answers."""
    first, *others = tried.values()
    return bool(others) and all(
        np.array_equal(first.answers, other.answers) for other in others
    )


def _best(tried):
    """The range that counts: [0, 1] if none is clearly better."""
    most = max(trial.accuracy.value for trial in tried.values())
    near = [
        name
        for name, trial in tried.items()
        if trial.accuracy.value >= most - _CLEARLY_BETTER
    ]
    if preprocessing.UNIT in near:
        return preprocessing.UNIT
    return max(near, key=lambda name: tried[name].likelihood)


def _check(tried, best, labels):
    """Raises ValueError where `best` is not to be believed."""
    _check_above_chance(tried, best, labels)
    trial = tried[best]
    is_given = best == preprocessing.UNIT
    chance = _chance(labels)
    skill = (trial.accuracy.value - chance) / (1.0 - chance)
    doubt = trial.confidence - trial.accuracy.value
    if skill < _BELIEVED_SKILL[is_given] and (
        doubt > _MOST_OVERCONFIDENCE[is_given]
    ):
        raise ValueError(
            "`preprocess` must say what is done to images before the "
            "classifier, which is sure of its answers by "
            f"{100 * trial.confidence:.0f} % and seldom right: its own "
            "function, or the name of a range below if it is right. Received: "
            f"{_listed(tried)}."
        )
    for name, other in tried.items():
        close = trial.accuracy.value - other.accuracy.value <= _CLEARLY_BETTER
        differs = np.mean(trial.answers != other.answers) > _MOST_DISAGREEMENT
        if close and differs and not is_given:
            raise ValueError(
                "`preprocess` must say what is done to images before the "
                f"classifier: {best} and {name} are too close to tell. "
                f"Received: {_listed(tried)}."
            )


def _check_one_class(tried, best, labels):
    """Raises where images of one class speak against `best`.

    A handful of images speaks neither for nor against any.
    """
    least = max(trial.accuracy.value for trial in tried.values())
    least -= _CLEARLY_BETTER
    if len(labels) < _FEWEST_IMAGES or tried[best].accuracy.value >= least:
        return
    raise ValueError(
        "`preprocess` must say what is done to images before the classifier "
        f"({preprocessing.UNIT!r} for nothing): images of class {labels[0]} "
        f"alone cannot tell. Received: {_listed(tried)}."
    )


def _check_above_chance(tried, best, labels):
    chance = _chance(labels)
    if tried[best].accuracy.interval[0] > chance:
        return
    reordered = max(
        _accuracy_in_another_order(trial.answers, labels)
        for trial in tried.values()
    )
    hint = "`preprocess=` says what else is done to images."
    if reordered > max(2.0 * chance, _TOLD_APART):
        hint = (
            "In another order of the labels it would be "
            f"{100 * reordered:.1f} %: are they numbered as in training?"
        )
    raise ValueError(
        "`clean` must be images that the classifier knows, with accuracy above "
        f"chance ({100 * chance:.1f} %). Received: {_listed(tried)}. {hint}"
    )


def _chance(labels):
    """The accuracy of who always answers the most frequent label."""
    return np.bincount(labels).max() / len(labels)


def _listed(tried):
    return ", ".join(
        f"{100 * trial.accuracy.value:.1f} % with pixels as {name}"
        for name, trial in tried.items()
    )


def _accuracy_in_another_order(predicted, labels):
    """The accuracy if each predicted class meant its most frequent label."""
    right = sum(
        np.bincount(labels[predicted == answer]).max()
        for answer in np.unique(predicted)
    )
    return right / len(labels)
