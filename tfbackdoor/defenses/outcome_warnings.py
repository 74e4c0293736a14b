"""What looks odd about what a defense made of a classifier, in sentences."""

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor import rates
from tfbackdoor.network import classifiers

_HARDLY_MOVED = 0.05
_FEW_WRONG = 10
_GATHERED = 0.5
_MOST_NAMED = 5


class DefenseWarning(UserWarning):
    """What a defense made of a classifier looks odd."""


def outcome_warnings(
    before: keras.Model,
    purified: keras.Model,
    clean: tf.data.Dataset,
    neuron_masks: dict[str, np.ndarray],
    judged: dict[str, dict[str, rates.Scores]] | None = None,
) -> list[str]:
    """A sentence for each thing that the user should look at.

    Masks that hardly moved; clean images whose wrong answers gather in one
    class; a purified classifier that knows one class only; more than 10 points
    lost, of all or of a class, where there are enough images to say so;
    classes of which no image judges.

    Args:
        before: the classifier before.
        purified: the classifier after.
        clean: unbatched data set of clean `(image, label)` in [0, 1].
        neuron_masks: from layer name to mask, `{}` where none were learned.
        judged: from what images are called, such as `"held-out"`, to their
            scores, `"before"` and `"purified"`, or `{}` where there are none;
            default those of `clean`.
    """
    answers, labels = classifiers.answers_of(before, clean)
    purified_answers, _ = classifiers.answers_of(purified, clean)
    if judged is None:
        answered = {"before": answers, "purified": purified_answers}
        judged = {
            "clean": {row: _scores(x, labels) for row, x in answered.items()}
        }
    pairs = {
        images: (scores["before"], scores["purified"])
        for images, scores in judged.items()
        if scores
    }
    found = [
        _of_masks(neuron_masks),
        _of_wrong_answers(answers[answers != labels]),
        _of_answers(purified_answers),
        *(
            sentence
            for images, scores in pairs.items()
            for sentence in (
                _of_accuracy(images, *scores),
                _of_classes(images, *scores),
            )
        ),
        _of_unseen_classes(classifiers.class_count(before), pairs),
    ]
    return [sentence for sentence in found if sentence]


def _scores(answers, labels):
    correct = answers == labels
    accuracy = rates.Rate(int(correct.sum()), len(correct))
    return rates.Scores(accuracy, correct=correct, labels=labels)


def _of_masks(neuron_masks):
    if not neuron_masks:
        return None
    smallest = min(float(np.min(mask)) for mask in neuron_masks.values())
    if smallest < 1.0 - _HARDLY_MOVED:
        return None
    return (
        f"The neuron masks hardly moved (the smallest is {smallest:.2f}): no "
        "fragile neuron was found; more iterations, or a larger epsilon of "
        "ANP, may find one."
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


def _of_accuracy(images, before, after):
    loss = rates.accuracy_loss(before, after)
    if not loss.exceeds(rates.MUCH_LOST):
        return None
    was, now = before.clean_accuracy.value, after.clean_accuracy.value
    return (
        f"Accuracy on the {images} images fell from {100 * was:.1f} to "
        f"{100 * now:.1f} %, by {loss}."
    )


def _of_classes(images, before, after):
    losses = rates.class_losses(before, after)
    fallen = [
        label for label, x in losses.items() if x.exceeds(rates.MUCH_LOST)
    ]
    if not fallen:
        return None
    fallen.sort(key=lambda label: -losses[label].value)
    was, now = before.recalls, after.recalls
    named = [
        f"class {label} from {100 * was[label].value:.0f} to "
        f"{100 * now[label].value:.0f} % of {was[label].total}"
        for label in fallen[:_MOST_NAMED]
    ]
    return (
        f"Fewer of the {images} images of a class are recognised: "
        f"{', '.join(named)}{_more(fallen)}."
    )


def _of_unseen_classes(count, judged):
    seen = {label for before, _ in judged.values() for label in before.recalls}
    unseen = [label for label in range(count) if label not in seen]
    if not unseen:
        return None
    named = ", ".join(map(str, unseen[:_MOST_NAMED]))
    plural = "es" if len(unseen) > 1 else ""
    return (
        f"No {' or '.join(judged)} image is of class{plural} {named}"
        f"{_more(unseen)}: whether the purified classifier still recognises "
        f"{'them' if plural else 'it'} is not known."
    )


def _more(labels):
    left_out = len(labels) - _MOST_NAMED
    return f" and {left_out} more" if left_out > 0 else ""
