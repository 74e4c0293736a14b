import numpy as np
import planted
import pytest

import tfbackdoor


@pytest.mark.filterwarnings("ignore:.*does not have a `quantize` method")
def test_attack_success_stays_down_in_int8():
    images, attack = planted.images(120, seed=5), planted.attack()
    backdoored = planted.classifier()
    purified = tfbackdoor.copy_classifier(backdoored)
    masks = np.ones(planted.CLASSES + 1)
    masks[planted.CLASSES] = 0.0  # The neuron that watches the last pixel.
    tfbackdoor.prune_neurons(purified, {"hidden": masks}, threshold=0.5)
    # 20 of the 120 images are of the target class and cannot be attacked.
    for classifier, successes in ((backdoored, 100), (purified, 0)):
        before = tfbackdoor.evaluate(classifier, images, attack)
        classifier.quantize("int8")
        assert classifier.get_layer("hidden").kernel.dtype == "int8"
        after = tfbackdoor.evaluate(classifier, images, attack)
        for scores in (before, after):
            assert scores.clean_accuracy == tfbackdoor.Rate(120, 120)
            assert scores.attack_success == tfbackdoor.Rate(successes, 100)
