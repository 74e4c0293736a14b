import numpy as np
import pytest

import tfbackdoor


def _scores(correct):
    return tfbackdoor.Scores(
        tfbackdoor.Rate(int(correct.sum()), len(correct)),
        correct=np.asarray(correct, bool),
    )


def _right_but_for(wrong, total=50):
    return _scores(np.arange(total) >= wrong)


@pytest.mark.parametrize(
    ("highest", "chosen", "tried"),
    [
        (0.1, 0.1, [0.1, 0.2]),
        (0.45, 0.4, [0.1, 0.2, 0.4, 0.8]),
        (5.0, 0.8, [0.1, 0.2, 0.4, 0.8]),
        (0.03, 0.025, [0.1, 0.05, 0.025]),
        (0.001, 0.00625, [0.1, 0.05, 0.025, 0.0125, 0.00625]),
    ],
)
@pytest.mark.parametrize("diverges", [False, True])
def test_goes_to_the_highest_rate_that_is_tolerated(
    highest, chosen, tried, diverges
):
    def scores_at(rate):
        if rate <= highest:
            return _right_but_for(10)
        if diverges:
            raise tfbackdoor.training.TrainingDivergedError
        return _right_but_for(30)

    rate, accuracies = tfbackdoor.defenses.choose_learning_rate(
        scores_at, _right_but_for(10)
    )
    assert rate == pytest.approx(chosen)
    assert list(accuracies) == pytest.approx(tried)
    for tried_rate, accuracy in accuracies.items():
        failed = 0.0 if diverges else 0.4
        assert accuracy == (0.8 if tried_rate <= highest else failed)


@pytest.mark.parametrize(
    ("lost", "won", "tolerated"),
    # The bound on lost - won is 1.645 sqrt(lost + won): 2.8 of 3, 5.5 of 11.
    [(0, 0, True), (2, 0, True), (3, 0, False), (8, 3, True), (9, 3, False)],
)
def test_what_chance_may_lose_is_tolerated(lost, won, tolerated):
    teacher = np.ones(40, bool)
    teacher[:won] = False
    student = np.ones(40, bool)
    student[won : won + lost] = False
    rate, _ = tfbackdoor.defenses.choose_learning_rate(
        lambda rate: _scores(student if rate > 0.1 else teacher),
        _scores(teacher),
    )
    assert rate == pytest.approx(0.8 if tolerated else 0.1)
