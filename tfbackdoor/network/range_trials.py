"""How a classifier answers under each range, and which is to be believed."""

import functools

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor import rates
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
# Standard deviations by which one range must be right more often.
_BEYOND_CHANCE = 3.0
# Times the average share from which one class makes accuracy a poor guide.
_UNEVEN = 1.5


def is_enough(sample: tuple[np.ndarray, np.ndarray]) -> bool:
    """Whether there are images enough, of several classes, to tell."""
    _, labels = sample
    return len(labels) >= _FEWEST_IMAGES and len(np.unique(labels)) > 1


class Trial:
    """How a classifier answers a sample under one preprocessing.

    Args:
        classifier: built Keras classifier.
        function: what is done to images in [0, 1] before it.
        images, labels: the sample, arrays.
        scores_of: what gives scores of images, default
            `classifiers.scores_of` of the classifier.
    """

    def __init__(self, classifier, function, images, labels, scores_of=None):
        scores_of = scores_of or functools.partial(
            classifiers.scores_of, classifier
        )
        size = batch_size.batch_size_for(classifier)
        scores = np.concatenate(
            [
                scores_of(function(tf.constant(images[i : i + size])))
                for i in range(0, len(images), size)
            ]
        )
        logs = keras.ops.convert_to_numpy(
            classifiers.log_probabilities(
                scores, classifiers.gives_logits(classifier)
            )
        )
        self.answers = np.argmax(scores, axis=1)
        self.right = self.answers == labels
        self.recalls = [self.right[labels == k] for k in np.unique(labels)]
        self.mean_recall = float(np.mean([np.mean(r) for r in self.recalls]))
        self.accuracy = rates.Rate(int(self.right.sum()), len(labels))
        self.likelihood = float(np.mean(logs[np.arange(len(labels)), labels]))
        self.confidence = float(np.mean(np.exp(logs.max(axis=1))))

    @property
    def suffices(self):
        """Whether no other range can be clearly better."""
        return self.mean_recall >= 1.0 - _CLEARLY_BETTER

    def is_right_more_often(self, other: "Trial") -> bool:
        """Whether it is right on more of the images than chance has it."""
        won = int(np.count_nonzero(self.right & ~other.right))
        lost = int(np.count_nonzero(other.right & ~self.right))
        return won - lost > _BEYOND_CHANCE * (won + lost) ** 0.5

    def beats(self, other: "Trial") -> bool:
        """Whether it is right more often, and surer of what is right."""
        more_often = self.is_right_more_often(other)
        return more_often and self.likelihood > other.likelihood


def answer_alike(tried: dict[str, Trial]) -> bool:
    """Whether several ranges were tried and all give the same answers."""
    first, *others = tried.values()
    return bool(others) and all(
        np.array_equal(first.answers, other.answers) for other in others
    )


def best_of(tried: dict[str, Trial]) -> str:
    """The range that counts: [0, 1] if none is clearly better.

    A rare one counts where all others are worse by 5 points. Any counts that
    is right more often by far more than chance.
    """
    first = _first_choice(tried)
    better = [name for name in tried if tried[name].beats(tried[first])]
    return max(better or [first], key=lambda name: tried[name].likelihood)


def _first_choice(tried):
    most = max(trial.mean_recall for trial in tried.values())
    near = [
        name
        for name, trial in tried.items()
        if trial.mean_recall >= most - _CLEARLY_BETTER
    ]
    if preprocessing.UNIT in near:
        return preprocessing.UNIT
    common = [name for name in near if name not in preprocessing.RARE]
    return max(common or near, key=lambda name: tried[name].likelihood)


def rivals_of(tried: dict[str, Trial], best: str) -> tuple[str, ...]:
    """The ranges that may as well be right as `best`, which is not [0, 1]."""
    if best == preprocessing.UNIT:
        return ()
    return tuple(
        name
        for name, trial in tried.items()
        if name != best
        and name not in preprocessing.RARE
        and not tried[best].is_right_more_often(trial)
    )


def check(
    tried: dict[str, Trial], best: str, labels: np.ndarray, *, name: str
) -> None:
    """Raises ValueError where `best` is not to be believed.

    Args:
        tried: from range to trial.
        best: one of them.
        labels: of the sample.
        name: what the images are called in the message.
    """
    check_above_chance(tried, best, labels, name=name)
    trial = tried[best]
    if not is_believed(trial, best, labels):
        raise ValueError(
            "`preprocess` must say what is done to images before the "
            "classifier, which is sure of its answers by "
            f"{100 * trial.confidence:.0f} % and seldom right: its own "
            "function, or the name of a range below if it is right. Received: "
            f"{_listed(tried)}."
        )
    for rival, other in tried.items():
        if rival in preprocessing.RARE and best not in preprocessing.RARE:
            continue
        close = trial.accuracy.value - other.accuracy.value <= _CLEARLY_BETTER
        differs = np.mean(trial.answers != other.answers) > _MOST_DISAGREEMENT
        if close and differs and best != preprocessing.UNIT:
            raise ValueError(
                "`preprocess` must say what is done to images before the "
                f"classifier: {best} and {rival} are too close to tell. "
                f"Received: {_listed(tried)}."
            )


def check_one_class(
    tried: dict[str, Trial], best: str, labels: np.ndarray
) -> None:
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


def check_above_chance(
    tried: dict[str, Trial], best: str, labels: np.ndarray, *, name: str
) -> None:
    """Raises ValueError unless accuracy under `best` is above chance."""
    if is_above_chance(tried[best], labels):
        return
    hint = "`preprocess=` says what else is done to images."
    reordered = _best_in_another_order(tried, labels)
    if _are_told_apart(reordered, labels):
        hint = (
            "In another order of the labels it would be "
            f"{100 * reordered:.1f} %: are they numbered as in training?"
        )
    raise ValueError(
        f"`{name}` must be images that the classifier knows, with accuracy "
        f"above chance ({100 * chance_of(labels):.1f} %). Received: "
        f"{_listed(tried)}. {hint}"
    )


def is_believed(trial: Trial, name: str, labels: np.ndarray) -> bool:
    """Whether accuracy is above chance, and no classifier's that is at a loss.

    One in a wrong range is far surer of its answers than it is right.
    """
    is_given = name == preprocessing.UNIT
    skilled = _skill(trial, labels) >= _BELIEVED_SKILL[is_given]
    doubt = trial.confidence - trial.accuracy.value
    return is_above_chance(trial, labels) and (
        skilled or doubt <= _MOST_OVERCONFIDENCE[is_given]
    )


def is_above_chance(trial: Trial, labels: np.ndarray) -> bool:
    """Whether a classifier knows these images, beyond doubt.

    Of images most of which are of one class, accuracy tells little, and the
    mean recall counts where it is better.
    """
    if trial.accuracy.interval[0] > chance_of(labels):
        return True
    even = 1.0 / len(trial.recalls)
    return chance_of(labels) > _UNEVEN * even and (
        _least_mean_recall(trial.recalls, even) > even
    )


def _least_mean_recall(recalls, even):
    """The lower end of an interval of the mean recall.

    Each class counts as if two more of its images had been answered by chance.
    """
    counts = np.array([len(right) + 2.0 for right in recalls])
    shares = [np.sum(right) + 2.0 * even for right in recalls] / counts
    variance = np.sum(shares * (1.0 - shares) / counts) / len(recalls) ** 2
    return np.mean(shares) - _BEYOND_CHANCE * variance**0.5


def images_are_to_blame(tried: dict[str, Trial], labels: np.ndarray) -> bool:
    """Whether a classifier at chance is good under another range or order."""
    reordered = _best_in_another_order(tried, labels)
    return _are_told_apart(reordered, labels) or any(
        _skill(trial, labels) >= _BELIEVED_SKILL[False]
        for trial in tried.values()
    )


def _best_in_another_order(tried, labels):
    return max(
        _accuracy_in_another_order(trial.answers, labels)
        for trial in tried.values()
    )


def _are_told_apart(reordered, labels):
    return reordered > max(2.0 * chance_of(labels), _TOLD_APART)


def _skill(trial, labels):
    """Accuracy as a share of the way from chance to perfect."""
    chance = chance_of(labels)
    return (trial.accuracy.value - chance) / (1.0 - chance)


def chance_of(labels: np.ndarray) -> float:
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
