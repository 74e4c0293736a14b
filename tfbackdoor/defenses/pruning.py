"""Pruning by neuron masks: the cut, its curve and where to make it."""

import dataclasses
import pathlib
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor import evaluation
from tfbackdoor import rates
from tfbackdoor.attacks import poisoning as poisoning_module
from tfbackdoor.network import classifiers
from tfbackdoor.network import neurons as neurons_module

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(20))
_UNPRUNED = -1.0


@dataclasses.dataclass(frozen=True)
class CurvePoint:
    """One threshold of a pruning curve.

    Args:
        threshold: float, neurons with a mask at or below it are pruned; -1
            prunes none.
        pruned: int, how many that are.
        scores: the scores of the pruned classifier.
    """

    threshold: float
    pruned: int
    scores: rates.Scores

    def to_json(self) -> dict:
        """Nested dict of the threshold, the count and the scores."""
        return {
            "threshold": self.threshold,
            "pruned": self.pruned,
            **self.scores.to_json(),
        }


def prune_neurons(
    classifier: keras.Model,
    neuron_masks: dict[str, np.ndarray],
    *,
    threshold: float | None = None,
    number: int | None = None,
) -> dict[str, np.ndarray]:
    """Sets the weights of neurons with small masks to 0, in place.

    Gamma of a normalisation channel, or the kernel of a channel without one,
    becomes 0; beta, bias, moving statistics and all other neurons stay as
    they are (the original weights, not the masked ones). For a batch
    normalisation without gamma the kernel and bias before it and its moving
    mean become 0 in place of gamma: beta is what the channel gives, too.

    Args:
        classifier: the classifier that the masks were learned on.
        neuron_masks: from layer name to mask, as
            `AdversarialNeuronPruning.neuron_masks` gives it.
        threshold: float in [0, 1], neurons with a mask at or below it are
            pruned (0.2 in the paper); or
        number: int >= 0, the neurons with the smallest masks are pruned.

    Returns:
        From layer name to the sorted indices of its pruned neurons.

    Raises:
        ValueError: unless exactly one of `threshold` and `number` is given,
            in its range, and the masks fit the classifier. Nothing is changed
            then.
    """
    neurons = _matching_neurons(classifier, neuron_masks)
    masks = [neuron_masks[group.layer] for group in neurons]
    if (threshold is None) == (number is None):
        raise ValueError(
            "`threshold` or `number` must be given, one of them. Received: "
            f"threshold={threshold}, number={number}"
        )
    if number is None:
        kept = _keep_above(masks, threshold)
    else:
        kept = _keep_all_but(masks, number)
    for variable, value in _pruned_values(neurons, kept):
        variable.assign(value)
    return {
        group.layer: np.flatnonzero(~keep) for group, keep in zip(neurons, kept)
    }


def pruning_curve(
    classifier: keras.Model,
    neuron_masks: dict[str, np.ndarray],
    images: tf.data.Dataset,
    poisoning: poisoning_module.Poisoning | None = None,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    margin: float = 0.0,
    batch_size: int = 256,
    precision: str | None = None,
) -> list[CurvePoint]:
    """Scores the classifier pruned at each of many thresholds.

    Costs an evaluation for each threshold that prunes further neurons, up to
    the first at which clean accuracy is no better than chance (1 / classes,
    within its 95 % interval): stronger pruning has nothing to tell. The
    classifier itself is not changed.

    Args:
        classifier: the classifier that the masks were learned on.
        neuron_masks: from layer name to mask.
        images: unbatched data set of clean `(image, label)` in [0, 1].
        poisoning: the attack, or None where it is unknown. To choose a
            threshold, leave it out: see `choose_threshold`.
        thresholds: floats in [0, 1], default 0, 0.05 ... 0.95.
        margin: float >= 0, how exact the rates of a point need be: it is
            scored on as many images, which must come in random order, as
            bring the 95 % intervals of all its rates within this distance of
            their middle; 0 scores all images.
        batch_size: int > 0.
        precision: of the forward passes: `"float32"`, `"mixed_bfloat16"`, or
            None for the classifier's own.

    Returns:
        A point for the classifier as it is (threshold -1), then one for each
        threshold in rising order, the first at chance being the last.
    """
    neurons = _matching_neurons(classifier, neuron_masks)
    masks = [neuron_masks[group.layer] for group in neurons]
    counter = evaluation.BatchCounter(
        classifier,
        poisoning,
        replaced=[v for group in neurons for v, _ in group.zeroed],
        precision=precision,
    )
    chance = 1.0 / classifiers.class_count(classifier)
    batches = images.batch(batch_size).cache()
    curve = []
    for threshold in (_UNPRUNED, *sorted(thresholds)):
        kept = _keep_above(masks, threshold)
        pruned = sum(int((~keep).sum()) for keep in kept)
        if curve and pruned == curve[-1].pruned:
            scores = curve[-1].scores
        else:
            values = [value for _, value in _pruned_values(neurons, kept)]
            scores = counter.scores(batches, values, margin=margin)
        curve.append(CurvePoint(threshold, pruned, scores))
        if pruned and scores.clean_accuracy.interval[0] <= chance:
            break
    return curve


def choose_threshold(
    curve: Sequence[CurvePoint],
    *,
    max_accuracy_drop: float = 0.03,
    confident: bool = False,
) -> CurvePoint:
    """The strongest pruning that clean accuracy can afford.

    Looks at clean accuracy only: goes up the curve as long as accuracy stays
    within `max_accuracy_drop` of the unpruned classifier's.

    Args:
        curve: of `pruning_curve` on clean images held out from the learning
            of the masks.
        max_accuracy_drop: float in [0, 1].
        confident: bool, whether the whole 95 % interval of the loss, image by
            image, must stay within `max_accuracy_drop`, or the loss itself.

    Returns:
        The last point before accuracy falls below the budget; the unpruned
        one where no threshold is safe.
    """
    if not 0.0 <= max_accuracy_drop <= 1.0:
        raise ValueError(
            "`max_accuracy_drop` must lie in [0, 1]. "
            f"Received: max_accuracy_drop={max_accuracy_drop}"
        )
    unpruned = chosen = curve[0]
    for point in curve[1:]:
        if confident:
            loss = rates.accuracy_loss(unpruned.scores, point.scores)
            drop = loss.interval[1] if point.pruned else 0.0
        else:
            drop = (
                unpruned.scores.clean_accuracy.value
                - point.scores.clean_accuracy.value
            )
        if not rates.within_budget(drop, max_accuracy_drop):
            break
        chosen = point
    return chosen


def least_attacked(
    curve: Sequence[CurvePoint], max_accuracy_drop: float
) -> CurvePoint:
    """The point of least attack success that clean accuracy can afford.

    An oracle: no defender knows attack success.

    Args:
        curve: of `pruning_curve`, scored with the attack.
        max_accuracy_drop: float in [0, 1].
    """
    unpruned = curve[0].scores.clean_accuracy.value
    affordable = [
        point
        for point in curve
        if rates.within_budget(
            unpruned - point.scores.clean_accuracy.value, max_accuracy_drop
        )
    ]
    return min(affordable, key=lambda p: p.scores.attack_success.value)


class HoldPruned(keras.callbacks.Callback):
    """Keeps pruned neurons at zero while their classifier is fine-tuned.

    After each batch what `prune_neurons` set to 0 is set to 0 again, so that
    clean images win accuracy back without bringing the backdoor back.

    Args:
        classifier: the pruned classifier.
        pruned: from layer name to the indices of its pruned neurons, as
            `prune_neurons` gives it.
    """

    def __init__(self, classifier: keras.Model, pruned: dict[str, np.ndarray]):
        super().__init__()
        neurons, _ = neurons_module.find_neurons(classifier)
        self._neurons = [
            group for group in neurons if len(pruned.get(group.layer, ()))
        ]
        self._kept = []
        for group in self._neurons:
            kept = np.ones(group.count, bool)
            kept[pruned[group.layer]] = False
            self._kept.append(kept)

    def on_train_batch_end(self, batch, logs=None):
        for variable, value in _pruned_values(self._neurons, self._kept):
            variable.assign(value)


def save_masks(
    neuron_masks: dict[str, np.ndarray], path: str | pathlib.Path
) -> None:
    """Writes masks as an `.npz` file, which `read_arrays` reads."""
    np.savez_compressed(path, **neuron_masks)


def _matching_neurons(classifier, neuron_masks):
    """The classifier's neurons, checked to be those of the masks."""
    neurons, _ = neurons_module.find_neurons(classifier)
    expected = {group.layer: (group.count,) for group in neurons}
    received = {name: np.shape(mask) for name, mask in neuron_masks.items()}
    if expected != received:
        wrong = sorted(
            name
            for name in expected.keys() | received.keys()
            if expected.get(name) != received.get(name)
        )
        raise ValueError(
            "`neuron_masks` must hold one mask per layer with neurons of the "
            f"classifier. Received: {len(wrong)} layers that differ, such as "
            f"{wrong[0]}: expected {expected.get(wrong[0])}, received "
            f"{received.get(wrong[0])}"
        )
    return neurons


def _keep_above(masks, threshold):
    if not (threshold == _UNPRUNED or 0.0 <= threshold <= 1.0):
        raise ValueError(
            f"`threshold` must lie in [0, 1]. Received: threshold={threshold}"
        )
    return [mask > threshold for mask in masks]


def _keep_all_but(masks, number):
    total = sum(map(len, masks))
    if not 0 <= number <= total:
        raise ValueError(
            f"`number` must lie in 0 to {total}, the number of neurons. "
            f"Received: number={number}"
        )
    kept = np.ones(total, bool)
    kept[np.argsort(np.concatenate(masks), kind="stable")[:number]] = False
    return np.split(kept, np.cumsum([len(mask) for mask in masks])[:-1])


def _pruned_values(neurons, kept):
    """The variables that pruning zeroes, with what becomes of them."""
    return [
        (variable, variable.value * _as_factor(keep, shape, variable.dtype))
        for group, keep in zip(neurons, kept)
        for variable, shape in group.zeroed
    ]


def _as_factor(keep, shape, dtype):
    return tf.cast(tf.reshape(keep, shape), dtype)
