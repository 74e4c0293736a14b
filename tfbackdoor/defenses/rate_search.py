"""How fast a student may learn, told by clean images."""

import math
from collections.abc import Callable

from tfbackdoor import rates
from tfbackdoor.training import classifier_training

_PAPERS_RATE = 0.1
_LOWEST, _HIGHEST = _PAPERS_RATE / 16, _PAPERS_RATE * 8
_Z_5 = 1.6448536269514722


def choose_learning_rate(
    scores_at: Callable[[float], rates.Scores], teacher: rates.Scores
) -> tuple[float, dict[float, float]]:
    """The highest learning rate that leaves a student as good as its teacher.

    Distillation at a higher rate unlearns more of a backdoor and costs more
    accuracy. This goes up from the 0.1 of NAD's paper by factors of 2 as long
    as the rate is tolerated, or down until it is. It is tolerated where the
    student is
    not significantly worse than its teacher: McNemar's test (1947) of the
    images that just one of them answers right, one-sided, at 5 %.

    Args:
        scores_at: function from a learning rate to the held-out scores of a
            student that was trained at it. Where it raises
            `TrainingDivergedError` the rate is not tolerated.
        teacher: scores of the teacher on the same images.

    Returns:
        The chosen rate, from 0.1 / 16 (also where that is too high) to 0.8;
        and from each rate that was tried to the accuracy, 0 where training
        diverged.
    """
    tried = {}

    def is_tolerated(rate):
        try:
            scores = scores_at(rate)
        except classifier_training.TrainingDivergedError:
            tried[rate] = 0.0
            return False
        tried[rate] = scores.clean_accuracy.value
        loss = rates.accuracy_loss(teacher, scores)
        return loss.lost - loss.won <= _Z_5 * math.sqrt(loss.lost + loss.won)

    rate = _PAPERS_RATE
    while not is_tolerated(rate) and rate > _LOWEST:
        rate /= 2.0
    if rate == _PAPERS_RATE:
        while rate < _HIGHEST and is_tolerated(2.0 * rate):
            rate *= 2.0
    return rate, tried
