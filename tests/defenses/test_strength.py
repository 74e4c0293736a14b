"""How strongly a classifier is hardened, and by what that is judged."""

import keras
import numpy as np
import planted
import pytest
import specimens

from tfbackdoor import rates
from tfbackdoor.defenses import strength
from tfbackdoor.training import run_settings


def _of_random_weights(seed):
    model = specimens.build("functional")
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    return model


@pytest.mark.parametrize(
    "lost, images, budget, share",
    [
        ({1.0: 10, 0.9: 0, 0.5: 0}, 1000, 0.02, 1.0),
        ({1.0: 30, 0.9: 20, 0.5: 10}, 1000, 0.02, 0.9),
        ({1.0: 90, 0.9: 30, 0.5: 70}, 1000, 0.02, 0.0),
        ({}, 1000, 0.02, 0.0),
        ({1.0: 10, 0.9: 30, 0.5: 0}, 1000, 0.02, 1.0),
        ({1.0: 10, 0.9: 0, 0.5: -10}, 1000, 0.0, 0.9),
        # 3 of 100 may be chance: the least share is taken nevertheless.
        ({1.0: 9, 0.9: 5, 0.5: 3}, 100, 0.02, 0.5),
        ({1.0: 9, 0.9: 2, 0.5: 1}, 100, 0.02, 0.9),
    ],
)
def test_the_strongest_share_within_the_budget_is_taken(
    lost, images, budget, share
):
    losses = {
        s: rates.AccuracyLoss(max(n, 0), max(-n, 0), images)
        for s, n in lost.items()
    }
    assert strength.strongest(losses, budget) == share


def test_weights_between_a_classifier_and_the_mean_of_others():
    before, *others = (_of_random_weights(seed) for seed in (1, 2, 3))
    others = [classifier.get_weights() for classifier in others]
    between = strength.between(before, others, 0.25)
    for start, a, b, given in zip(
        before.get_weights(), *others, between.get_weights()
    ):
        expected = 0.75 * start + 0.125 * a + 0.125 * b
        np.testing.assert_allclose(given, expected, atol=1e-6)
    with pytest.raises(ValueError, match="`share` must lie in"):
        strength.between(before, others, 1.1)


def test_weights_of_half_precision_are_between_too():
    model = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(3, dtype="bfloat16")]
    )
    model.set_weights([0.0 * w for w in model.get_weights()])
    others = [[w + value for w in model.get_weights()] for value in (3.0, 5.0)]
    for given in strength.between(model, others, 0.25).get_weights():
        np.testing.assert_array_equal(given.astype("float32"), 1.0)


# Moved by up to 4 of their 8 pixels, the images would be answered at random.
@pytest.mark.parametrize("padding", [0, 1, 4])
def test_a_share_is_judged_on_the_same_images_as_the_classifier_before(
    padding,
):
    """Equal weights answer alike, so that nothing can be lost or won."""
    classifier = planted.classifier()
    run = run_settings.RunSettings(verbose=0, padding=padding, flip=False)
    judges = [planted.images(30, seed=seed) for seed in (1, 2)]
    losses = strength.losses(
        classifier, [classifier.get_weights()] * 2, judges, run
    )
    assert losses.keys() == set(strength.SHARES)
    for loss in losses.values():
        assert (loss.lost, loss.won, loss.total) == (0.0, 0.0, 60.0)


def test_no_share_below_one_that_is_affordable_is_scored():
    classifier = planted.classifier()
    same = [classifier.get_weights()]
    ruined = [[-9.0 * weight for weight in same[0]]]
    run = run_settings.RunSettings(verbose=0, padding=0, flip=False)

    def scored(weights):
        images = [planted.images(30)]
        return [*strength.losses(classifier, weights, images, run, budget=0.0)]

    assert scored(same) == [1.0]
    assert scored(ruined)[0] == 1.0 and len(scored(ruined)) > 1


def test_augmented_images_judge_only_where_they_are_tolerated():
    """Always class 0 is right for a sixth of the images, wherever they are."""
    classifier = planted.classifier()
    constant = [[0.0 * w for w in classifier.get_weights()]]
    run = run_settings.RunSettings(verbose=0, padding=8, flip=True)
    losses = strength.losses(classifier, constant, [planted.images(60)], run)
    assert losses[1.0] == rates.AccuracyLoss(50, 0, 60)
