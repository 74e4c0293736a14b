"""Which preprocessing of pixels in [0, 1] a classifier was trained with."""

import dataclasses
import warnings
import weakref
from collections.abc import Callable

import keras
import numpy as np

from tfbackdoor import errors
from tfbackdoor import rates
from tfbackdoor.data import pairs as pairs_module
from tfbackdoor.network import adapting
from tfbackdoor.network import classifiers
from tfbackdoor.network import preprocessing
from tfbackdoor.network import range_trials
from tfbackdoor.network import reading

_originals = weakref.WeakKeyDictionary()


class RangeWarning(UserWarning):
    """Accuracy cannot tell which range of pixels is right."""


@dataclasses.dataclass(frozen=True)
class ValueRange:
    """What turns images in [0, 1] into those that a classifier takes.

    Args:
        name: a name of `preprocessing.RANGES`, such as `"[0, 255]"`, or that
            of the owner's function.
        accuracies: from each range tried to the clean accuracy that it gives.
        function: what is done to images; default that of `name`.
        is_certain: bool, whether accuracy under it speaks for it.
        rivals: other ranges under which accuracy is as good.
    """

    name: str
    accuracies: dict[str, rates.Rate]
    function: Callable | None = None
    is_certain: bool = True
    rivals: tuple[str, ...] = ()

    @property
    def doubt(self) -> str | None:
        """A sentence where accuracy could not tell the range from others."""
        if not self.rivals:
            return None
        others = ", ".join(
            f"{100 * self.accuracies[name].value:.1f} % as {name}"
            for name in self.rivals
        )
        return (
            f"Pixels were taken as {self.name}, by which "
            f"{100 * self.accuracies[self.name].value:.1f} % of the images are "
            f"recognised; that cannot be told from {others}. `preprocess=` "
            "says which is right."
        )

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

    def of_copy(self) -> "ValueRange":
        """The same, of a copy, whose weights may have become worse."""
        return dataclasses.replace(self, is_certain=False)

    def restore(self, adapted: keras.Model) -> keras.Model:
        """The classifier of its own range that was adapted."""
        return _originals.get(adapted, adapted)


AS_GIVEN = ValueRange(preprocessing.UNIT, {})


def find_value_range(
    classifier: keras.Model, clean, *, preprocess=None
) -> ValueRange:
    """The preprocessing under which a classifier answers clean images best.

    Tries [0, 1], [0, 255], [-1, 1], the means and deviations of ImageNet,
    CIFAR-10 and MNIST, Caffe's BGR, per-image standardisation, and the rarer
    [0, 16], [0, 65535] and [-0.5, 0.5], on 500 images drawn from all. Images
    stay as they are unless another range gives over 5 points of accuracy more,
    or fewer but by far more than chance has it.

    Args:
        classifier: built Keras classifier.
        clean: clean images and labels in any form of `labelled_images`, uint8
            or float in [0, 1].
        preprocess: what the owner does to images, in place of trying: a name
            such as `"[0, 255]"`, which is taken as it is; or a function of
            TensorFlow or `keras.ops`, of float32 images in [0, 1] (in
            [0, 255] for a `preprocess_input` of `keras.applications`), with
            which accuracy must be above chance.

    Fewer than 20 images, or images of one class, cannot tell: they stay as
    they are, unless the classifier itself begins by dividing by 255. Where the
    accuracy of several ranges is alike, the one that is surest of what is
    right is taken, with a `RangeWarning` that names the others.

    Raises:
        ValueError: where no range gives an accuracy to believe; the message
            says what each gives, and whether the classes are told apart in
            another order than that of the labels. An accuracy is not to be
            believed that is no better than chance, or far below how sure the
            classifier is of its answers; nor a range that is hardly better
            than another that gives other answers.
    """
    pairs = pairs_module.as_pairs(clean, "clean")
    classifier = adapting.conform(
        classifier, image_size=reading.image_size(pairs), trains=False
    )
    _, found = reading.read_images(classifier, pairs, "clean")
    return range_of_sample(classifier, found.sample, preprocess=preprocess)


def range_of_sample(
    classifier: keras.Model,
    sample: tuple[np.ndarray, np.ndarray],
    *,
    preprocess=None,
    above_chance: bool = True,
    name: str = "clean",
    scores_of: Callable | None = None,
) -> ValueRange:
    """As `find_value_range`, on `(images, labels)` drawn from all.

    Where accuracy need not be `above_chance`, images stay as they are if the
    classifier gives the same answers under all ranges: none is to blame.
    `scores_of` gives scores of images, default a `compiled_scores`.
    """
    shape, labels = classifiers.image_shape(classifier), sample[1]
    if preprocess is not None:
        given, function = preprocessing.function_of(preprocess, shape)
        if isinstance(preprocess, str):
            return ValueRange(given, {}, function)
        tried = {given: range_trials.Trial(classifier, function, *sample)}
        if range_trials.is_enough(sample):
            range_trials.check_above_chance(tried, given, labels, name=name)
        return ValueRange(given, {given: tried[given].accuracy}, function)
    known = preprocessing.known_ranges(shape[-1])
    tried = _trials(classifier, sample, known, scores_of)
    best, certain = range_trials.best_of(tried), range_trials.is_enough(sample)
    if not above_chance and range_trials.answer_alike(tried):
        best, certain = preprocessing.UNIT, False
    elif certain:
        range_trials.check(tried, best, labels, name=name)
    else:
        declared = preprocessing.declared_range(classifier)
        best = declared or preprocessing.UNIT
        if declared is None:
            range_trials.check_one_class(tried, best, labels)
    accuracies = {each: trial.accuracy for each, trial in tried.items()}
    rivals = range_trials.rivals_of(tried, best) if certain else ()
    values = ValueRange(best, accuracies, known[best], certain, rivals)
    if values.doubt:
        warnings.warn(
            values.doubt, RangeWarning, stacklevel=errors.users_level()
        )
    return values


def _trials(classifier, sample, known, scores_of=None):
    """From range to trial; [0, 1] alone where no other can be better."""
    scores_of = scores_of or classifiers.compiled_scores(classifier)
    tried = {}
    for name, function in known.items():
        tried[name] = range_trials.Trial(
            classifier, function, *sample, scores_of
        )
        is_unit = name == preprocessing.UNIT
        if is_unit and range_trials.is_enough(sample) and tried[name].suffices:
            break
    return tried


def still_holds(
    values: ValueRange,
    classifier: keras.Model,
    sample: tuple[np.ndarray, np.ndarray],
) -> bool:
    """Whether a range that was found on other images is right for these too.

    A copy may be worse than what it was copied from: its range is believed
    unless another range, or order of the labels, tells that images are wrong.
    """
    if not range_trials.is_enough(sample):
        return True
    function = values.function or preprocessing.RANGES[values.name][0]
    trial = range_trials.Trial(classifier, function, *sample)
    if values.is_certain:
        return range_trials.is_believed(trial, values.name, sample[1])
    if range_trials.is_above_chance(trial, sample[1]):
        return True
    known = preprocessing.known_ranges(sample[0].shape[-1])
    tried = _trials(classifier, sample, known)
    return not range_trials.images_are_to_blame(tried, sample[1])


def check_alike(
    classifier: keras.Model,
    sample: tuple[np.ndarray, np.ndarray],
    values: ValueRange,
    *,
    name: str,
) -> None:
    """Raises ValueError where a classifier does not know images at all.

    Args:
        classifier: of images in [0, 1], which is known to be good.
        sample: images and labels.
        values: how its owner's images are, for the message.
        name: what the images are called there.
    """
    labels = sample[1]
    if not range_trials.is_enough(sample):
        return
    trial = range_trials.Trial(classifier, lambda images: images, *sample)
    if trial.accuracy.interval[0] <= 1.0 / len(np.unique(labels)):
        range_trials.check_above_chance(
            {values.name: trial}, values.name, labels, name=name
        )


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
    scores_of = classifiers.compiled_scores(classifier)
    tried = {
        name: range_trials.Trial(classifier, function, *sample, scores_of)
        for name, function in known.items()
    }
    best = range_trials.best_of(tried)
    accuracy = tried[best].accuracy
    if accuracy.interval[0] <= max(
        given.interval[1], range_trials.chance_of(sample[1])
    ):
        return None
    return best, accuracy, given
