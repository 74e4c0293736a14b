import dataclasses

import numpy as np
import planted
import pytest

import tfbackdoor
from tfbackdoor.attacks import retuning


@pytest.mark.parametrize("mode", ["all_to_one", "clean_label", "all_to_all"])
def test_as_many_images_as_asked_for_are_poisoned(mode):
    attack = dataclasses.replace(planted.attack(), mode=mode, cover_ratio=0.0)
    images = planted.images(60)
    poisoned = retuning._poison_a_few(images, attack, 5, seed=1)
    clean_images, clean_labels = next(images.batch(60).as_numpy_iterator())
    new_images, new_labels = next(poisoned.batch(60).as_numpy_iterator())
    changed = np.any(new_images != clean_images, axis=(1, 2, 3))
    assert changed.sum() == 5
    # The trigger is the last pixel, white.
    assert np.all(new_images[changed, -1, -1] == 1.0)
    wanted = np.full(5, planted.TARGET)
    if mode == "all_to_all":
        wanted = (clean_labels[changed] + 1) % planted.CLASSES
    np.testing.assert_array_equal(new_labels[changed], wanted)
    np.testing.assert_array_equal(new_labels[~changed], clean_labels[~changed])


def test_retuning_wakes_a_backdoor_that_sleeps():
    asleep = planted.classifier()
    head = asleep.get_layer("head")
    kernel, bias = head.get_weights()
    # The neuron of the backdoor speaks too softly to be heard.
    kernel[planted.CLASSES, planted.TARGET] = 1.0
    head.set_weights([kernel, bias])
    before = [w.copy() for w in asleep.get_weights()]
    retuned = tfbackdoor.attacks.retune(
        asleep,
        planted.images(120),
        planted.attack(),
        epochs=30,
        learning_rate=0.05,
        flip=False,
        padding=0,
        verbose=0,
    )
    test = planted.images(120, seed=1)
    success = [
        tfbackdoor.evaluate(x, test, planted.attack()).attack_success.value
        for x in (asleep, retuned)
    ]
    assert success[0] <= 0.05 and success[1] >= 0.3
    for old, new in zip(before, asleep.get_weights()):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("poisoned", [0, 51])
def test_a_number_that_cannot_be_poisoned_is_refused(poisoned):
    with pytest.raises(ValueError, match="`poisoned` must be a whole.* 50"):
        tfbackdoor.attacks.retune(
            planted.classifier(),
            planted.images(60),
            planted.attack(),
            poisoned=poisoned,
        )
