"""Which triggers that were found still work."""

import keras
import numpy as np
import planted
import pytest

from tfbackdoor.defenses import inverted_triggers
from tfbackdoor.defenses import trigger_unlearning


def _triggers(opacities):
    """The planted trigger for its class and two others, as opaque as told."""
    masks = np.zeros((len(opacities), 8, 8, 1), "float32")
    masks[:, -1, -1, 0] = opacities
    targets = planted.TARGET + np.arange(len(opacities))
    success = np.ones(len(opacities))
    return inverted_triggers.InvertedTriggers(
        targets, masks, np.ones_like(masks), success
    )


@pytest.mark.parametrize(
    ("opacities", "works"),
    [([1.0, 1.0, 1.0], [planted.TARGET]), ([0.0, 1.0, 1.0], [])],
)
def test_triggers_that_turn_images_are_at_work(opacities, works):
    at_work = trigger_unlearning.still_at_work(
        planted.classifier(), _triggers(opacities), planted.images(60)
    )
    assert at_work.targets.tolist() == works


def test_images_that_are_taken_for_the_class_anyway_are_not_turned():
    inputs = keras.Input((8, 8, 1))
    head = keras.layers.Dense(planted.CLASSES)
    classifier = keras.Model(inputs, head(keras.layers.Flatten()(inputs)))
    bias = 9.0 * np.eye(planted.CLASSES)[planted.TARGET]
    head.set_weights([np.zeros((64, planted.CLASSES)), bias])
    at_work = trigger_unlearning.still_at_work(
        classifier, _triggers([1.0]), planted.images(60)
    )
    assert at_work.targets.tolist() == []
