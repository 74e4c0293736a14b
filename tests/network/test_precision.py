"""Classifiers of half precision: what is learned from them is float32."""

import keras
import numpy as np
import pytest

import tfbackdoor
from tfbackdoor.network import compute_view

_POLICIES = (
    "mixed_float16",
    "mixed_bfloat16",
    "float16",
    "bfloat16",
)


def _classifier(policy, last=None):
    """All layers of one policy, the scores too unless `last` is given."""

    def block(x, width):
        x = keras.layers.Conv2D(width, 3, padding="same", dtype=policy)(x)
        x = keras.layers.BatchNormalization(dtype=policy)(x)
        return keras.layers.ReLU(dtype=policy, name=f"relu{width}")(x)

    inputs = keras.Input((8, 8, 3))
    x = keras.layers.MaxPooling2D(dtype=policy)(block(inputs, 6))
    x = keras.layers.GlobalAveragePooling2D(dtype=policy)(block(x, 8))
    head = keras.layers.Dense(4, activation="softmax", dtype=last or policy)
    return keras.Model(inputs, head(x))


def _batch(count=32):
    rng = np.random.default_rng(0)
    images = rng.random((count, 8, 8, 3)).astype("float32")
    return images, rng.integers(0, 4, count)


@pytest.mark.parametrize("precision", [None, "float32", "mixed_bfloat16"])
@pytest.mark.parametrize("policy", _POLICIES)
def test_a_view_gives_float32_near_the_classifiers_scores(policy, precision):
    classifier = _classifier(policy)
    view = compute_view.ComputeView(classifier, precision)
    assert view.model is not classifier
    images, _ = _batch()
    for training in (False, True):
        scores, updates = view(images, training=training)
        assert scores.dtype == "float32"
        compute_view.assign(updates)
    # The scores themselves are float32: each row sums to one.
    np.testing.assert_allclose(np.sum(scores, axis=1), 1.0, atol=1e-6)
    expected = keras.ops.cast(classifier(images, training=False), "float32")
    scores, _ = view(images, training=False)
    np.testing.assert_allclose(scores, expected, atol=2e-2)


def test_a_model_that_cannot_be_cloned_gives_float32_too():
    class Whole(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = _classifier("mixed_float16")

        def call(self, inputs):
            return self.inner(inputs)

    model = Whole()
    images, _ = _batch()
    model(images)
    view = compute_view.ComputeView(model)
    assert view.model is model
    assert view(images, training=False)[0].dtype == "float32"


@pytest.mark.parametrize("policy", ["mixed_float16", "bfloat16"])
def test_masks_and_attention_are_learned_in_float32(policy):
    classifier = _classifier(policy)
    images, labels = _batch()
    anp = tfbackdoor.AdversarialNeuronPruning(classifier)
    assert {mask.neuron_mask.dtype for mask in anp.masks} == {"float32"}
    anp.compile()
    history = anp.fit(images, labels, batch_size=16, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    masks = np.concatenate(list(anp.neuron_masks().values()))
    # Changes below the steps of bfloat16, 2^-8 of 1, were learned.
    assert masks.dtype == "float32"
    assert np.any((masks < 1.0) & (masks > 1.0 - 2.0**-9))
    nad = tfbackdoor.NeuralAttentionDistillation(
        classifier, _classifier(policy), betas=[1.0, 1.0]
    )
    features, _ = nad.features(images)
    for tap in nad.taps:
        assert tfbackdoor.attention_map(features[tap]).dtype == "float32"
    nad.compile(tfbackdoor.training.CoupledSGD(0.01))
    before = classifier.get_weights()
    history = nad.fit(images, labels, batch_size=16, epochs=1, verbose=0)
    assert np.isfinite(history.history["attention_loss"]).all()
    changed = [
        np.any(old != new) for old, new in zip(before, classifier.get_weights())
    ]
    assert np.mean(changed) > 0.8
    assert {w.dtype for w in classifier.weights} == {
        "float32" if policy == "mixed_float16" else "bfloat16"
    }
    scores = classifier(images, training=False)
    tfbackdoor.prune_neurons(classifier, anp.neuron_masks(), number=3)
    pruned = classifier(images, training=False)
    assert np.any(np.array(pruned) != np.array(scores))


def test_a_pruned_classifier_of_mixed_float16_is_exported(tmp_path):
    classifier = _classifier("mixed_float16", last="float32")
    images, _ = _batch(4)
    folder = tfbackdoor.export_classifier(
        classifier, tmp_path, images, formats=["saved_model", "litert"]
    )
    loaded = tfbackdoor.load_classifier(folder / "classifier.keras")
    assert loaded.layers[1].dtype_policy.name == "mixed_float16"
