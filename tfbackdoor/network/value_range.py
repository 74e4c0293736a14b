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
from tfbackdoor.network import range_trials

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

    def adapt(
        self,
        classifier: keras.Model,
        *,
        image_size: tuple[int, int] | None = None,
    ) -> keras.Model:
        """A classifier of images in [0, 1] that shares all its weights.

        It gives one score per class, see `adapting.conform`, which
        `image_size` is for.
        """
        original = classifier
        classifier = adapting.conform(
            classifier, image_size=image_size, trains=False
        )
        if self.name == preprocessing.UNIT:
            adapted = classifier
        else:
            function = self.function or preprocessing.RANGES[self.name][0]
            adapted = adapting.adapt(classifier, function)
        if adapted is not original:
            _originals[adapted] = original
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
    shape = clean.element_spec[0].shape
    classifier = adapting.conform(
        classifier, image_size=tuple(shape[:2]), trains=False
    )
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
        tried = {name: range_trials.Trial(classifier, function, *sample)}
        if range_trials.is_enough(sample):
            range_trials.check_above_chance(tried, name, sample[1])
        return ValueRange(name, {name: tried[name].accuracy}, function)
    known = preprocessing.known_ranges(shape[-1])
    tried = {}
    for name, function in known.items():
        tried[name] = range_trials.Trial(classifier, function, *sample)
        is_unit = name == preprocessing.UNIT
        if is_unit and range_trials.is_enough(sample) and tried[name].suffices:
            break
    best, certain = range_trials.best_of(tried), range_trials.is_enough(sample)
    if not above_chance and range_trials.answer_alike(tried):
        best, certain = preprocessing.UNIT, False
    elif certain:
        range_trials.check(tried, best, sample[1])
    else:
        declared = preprocessing.declared_range(classifier)
        best = declared or preprocessing.UNIT
        if declared is None:
            range_trials.check_one_class(tried, best, sample[1])
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
    given = range_trials.Trial(classifier, unit, *sample).accuracy
    if given.interval[1] >= rates.Rate(count, count).interval[0]:
        return None
    tried = {
        name: range_trials.Trial(classifier, function, *sample).accuracy
        for name, function in known.items()
    }
    best = max(tried, key=lambda name: tried[name].value)
    if tried[best].interval[0] <= max(
        given.interval[1], range_trials.chance_of(sample[1])
    ):
        return None
    return best, tried[best], given
