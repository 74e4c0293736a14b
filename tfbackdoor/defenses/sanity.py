"""What looks odd about a purification, in sentences."""

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor.network import classifiers

_HARDLY_MOVED = 0.05
_FEW_WRONG = 10
_GATHERED = 0.5


def warnings(
    before: keras.Model,
    purified: keras.Model,
    clean: tf.data.Dataset,
    neuron_masks: dict[str, np.ndarray],
) -> list[str]:
    """A sentence for each thing that the user should look at.

    Masks that hardly moved, clean images whose wrong answers gather in one
    class, a purified classifier that knows one class only.

    Args:
        before: the classifier before.
        purified: the classifier after.
        clean: unbatched data set of clean `(image, label)` in [0, 1].
        neuron_masks: from layer name to mask, `{}` where none were learned.
    """
    answers, labels = classifiers.answers_of(before, clean)
    found = [
        _of_masks(neuron_masks),
        _of_wrong_answers(answers[answers != labels]),
        _of_answers(classifiers.answers_of(purified, clean)[0]),
    ]
    return [sentence for sentence in found if sentence]


def _of_masks(neuron_masks):
    if not neuron_masks:
        return None
    smallest = min(float(np.min(mask)) for mask in neuron_masks.values())
    if smallest < 1.0 - _HARDLY_MOVED:
        return None
    return (
        f"The neuron masks hardly moved (the smallest is {smallest:.2f}): ANP "
        "found no fragile neuron; more iterations or a larger epsilon may."
    )


def _of_wrong_answers(wrong):
    if len(wrong) < _FEW_WRONG:
        return None
    counts = np.bincount(wrong)
    share = counts.max() / len(wrong)
    if share < _GATHERED:
        return None
    return (
        f"{100 * share:.0f} % of the wrong answers to the clean images are "
        f"class {counts.argmax()}: some of them may carry the trigger."
    )


def _of_answers(answers):
    if len(np.unique(answers)) > 1:
        return None
    return (
        f"The purified classifier answers class {answers[0]} to all clean "
        "images: it is of no use."
    )
