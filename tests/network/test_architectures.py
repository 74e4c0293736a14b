"""Networks of `keras.applications`, with random weights and 64x64 images.

Eight of the fourteen families, and training for the smallest; with the
environment variable ALL_NETWORKS set, all of them and all of it.
"""

import collections
import os

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfbackdoor
from tfbackdoor.defenses import attention
from tfbackdoor.network import classifiers
from tfbackdoor.network import feature_shapes
from tfbackdoor.network import structure

_CLASSES = 4
# Of the largest score, which are logits. Another kernel of normalisation
# rounds elsewhere in float32: 6e-6 is the most that was measured.
_ROUNDING = 1e-5
_BN, _LN = "BatchNormalization", "LayerNormalization"
# The images each takes, and the layers with neurons it has. Kernels
# are those of squeeze-and-excite blocks, of MLPs, of VGG, and of residual
# branches that end without a normalisation.
_NETWORKS = {
    "ResNet50V2": (64, {_BN: 49}),
    "MobileNetV3Small": (64, {_BN: 34, "Conv2D": 19}),
    "EfficientNetB0": (64, {_BN: 49, "Conv2D": 32}),
    "ConvNeXtTiny": (64, {_LN: 23, "Dense": 36}),
    "InceptionV3": (75, {_BN: 94}),
    "DenseNet121": (64, {_BN: 121}),
    "VGG16": (64, {"Conv2D": 13, "Dense": 2}),
    "Xception": (71, {_BN: 40}),
}
_FURTHER = {
    "ResNet50": (64, {_BN: 53}),
    "MobileNet": (64, {_BN: 27}),
    "MobileNetV2": (64, {_BN: 52}),
    "EfficientNetV2B0": (64, {_BN: 59, "Conv2D": 32}),
    "InceptionResNetV2": (75, {_BN: 204, "Conv2D": 40}),
    "NASNetMobile": (64, {_BN: 192}),
}
_TRAINED = ["MobileNetV3Small"]
if os.environ.get("ALL_NETWORKS"):
    _NETWORKS |= _FURTHER
    _TRAINED = list(_NETWORKS)


def _fill(variable, rng):
    """Distinct values of a size that keeps activations in range."""
    name, shape = variable.path.split("/")[-1], variable.shape
    if name in ("gamma", "variance", "moving_variance"):
        return rng.uniform(0.5, 1.5, shape)
    if "kernel" in name:
        fan_in = np.prod(shape[:2] if "depthwise" in name else shape[:-1])
        return rng.normal(0.0, np.sqrt(2.0 / fan_in), shape)
    return rng.normal(0.0, 0.1, shape)


def _learn_statistics(classifier):
    """Moves all moving statistics halfway to those of some images.

    Without them activations overflow; with all of them channels that hardly
    vary magnify rounding.
    """
    normalisations = [
        layer
        for layer in structure.named_layers(classifier).values()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    momenta = [layer.momentum for layer in normalisations]
    for layer in normalisations:
        layer.momentum = 0.5
    classifier(_images(classifier), training=True)
    for layer, momentum in zip(normalisations, momenta):
        layer.momentum = momentum


@pytest.fixture(scope="module", params=_NETWORKS)
def network(request):
    """A network's name, its classifier, and its masked forward pass."""
    size, _ = _NETWORKS[request.param]
    keras.utils.set_random_seed(0)
    classifier = getattr(keras.applications, request.param)(
        weights=None,
        input_shape=(size, size, 3),
        classes=_CLASSES,
        classifier_activation=None,
    )
    rng = np.random.default_rng(0)
    for variable in classifier.weights:
        if variable.dtype == "float32":
            variable.assign(_fill(variable, rng))
    structure.refresh_statistics(classifier)
    _learn_statistics(classifier)
    anp = tfbackdoor.AdversarialNeuronPruning(classifier)
    yield request.param, classifier, anp
    keras.backend.clear_session()


@pytest.fixture
def name(network):
    return network[0]


@pytest.fixture
def classifier(network):
    """The classifier; what a test does to its weights is undone."""
    _, classifier, _ = network
    weights = classifier.get_weights()
    yield classifier
    classifier.set_weights(weights)


@pytest.fixture
def anp(network):
    """The masked classifier with masks of one."""
    _, _, anp = network
    for mask in anp.masks:
        mask.neuron_mask.assign(np.ones(mask.neurons))
    return anp


def _images(classifier, count=4):
    rng = np.random.default_rng(1)
    shape = (count, *tfbackdoor.network.image_shape(classifier))
    return rng.random(shape).astype("float32")


def test_every_layer_with_weights_holds_neurons_or_says_why_not(
    name, classifier, anp
):
    layers = structure.named_layers(classifier)
    kinds = collections.Counter(
        type(layers[group.layer]).__name__ for group in anp.neurons
    )
    assert kinds == _NETWORKS[name][1]
    found = {group.layer for group in anp.neurons}
    assert not found & anp.skipped.keys()
    assert found | anp.skipped.keys() == {
        layer for layer in layers if layers[layer].weights
    }
    reasons = collections.Counter(anp.skipped.values())
    assert reasons.pop("gives the class scores") == 1
    reasons.pop("followed by a normalisation, whose channels are masked", 0)
    adapted = {"no maskable neurons in a Normalization": 1}
    assert reasons == (adapted if name == "EfficientNetB0" else {})


def test_logits_are_told(classifier):
    assert classifiers.gives_logits(classifier)


def test_steps_of_anp_change_no_variable_of_the_classifier(
    name, classifier, anp
):
    before = [variable.numpy() for variable in classifier.variables]
    # Keras compiles each grouped convolution of ConvNeXt at each call.
    count = 2 if name == "ConvNeXtTiny" else 4
    # Eager: tracing takes longer than the steps.
    anp.compile(run_eagerly=True)
    images = _images(classifier, count)
    history = anp.fit(images, np.arange(count), batch_size=2, verbose=0)
    assert np.isfinite(history.history["loss"][0])
    masks = np.concatenate(list(anp.neuron_masks().values()))
    assert masks.min() >= 0.0 and masks.max() <= 1.0
    assert np.mean(masks < 1.0) > 0.2
    for old, variable in zip(before, classifier.variables):
        np.testing.assert_array_equal(old, variable.numpy())


def _assert_alike(scores, expected):
    """Within `_ROUNDING` of the largest score."""
    scale = np.abs(expected).max()
    np.testing.assert_allclose(
        scores, expected, rtol=0.0, atol=_ROUNDING * scale
    )


def test_pruning_does_to_the_classifier_what_masks_do_to_its_view(
    classifier, anp
):
    images = _images(classifier)
    plain = classifier(images, training=False).numpy()
    _assert_alike(anp(images), plain)
    rng = np.random.default_rng(2)
    for mask in anp.masks:
        mask.neuron_mask.assign(rng.random(mask.neurons) > 0.05)
    masked = anp(images).numpy()
    changed = np.abs(masked - plain).max()
    assert changed > 100 * _ROUNDING * np.abs(plain).max()
    before = {id(v): v.numpy() for v in classifier.variables}
    pruned = tfbackdoor.prune_neurons(
        classifier, anp.neuron_masks(), threshold=0.0
    )
    _assert_alike(classifier(images, training=False), masked)
    zeroed = {}
    for group in anp.neurons:
        for variable, shape in group.zeroed:
            kept = ~np.isin(np.arange(group.count), pruned[group.layer])
            zeroed[id(variable)] = kept.reshape(shape)
    for variable in classifier.variables:
        expected = before[id(variable)] * zeroed.get(id(variable), 1)
        np.testing.assert_array_equal(variable.numpy(), expected)


def test_three_taps_of_three_resolutions_differ_between_positions(classifier):
    taps = tfbackdoor.find_taps(classifier)
    shapes = feature_shapes.feature_shapes(classifier)
    positions = [shapes[tap][0] * shapes[tap][1] for tap in taps]
    assert len(taps) == 3
    assert positions == sorted(set(positions), reverse=True)
    assert positions[-1] >= 4
    maps = attention.attention_maps(classifier, _images(classifier), taps)
    for tap, attention_map in maps.items():
        attention.check_not_constant(tap, attention_map[None, ..., None])


def test_pruned_classifier_reloads_with_the_same_scores(
    classifier, anp, tmp_path
):
    masks = anp.neuron_masks()
    tfbackdoor.prune_neurons(classifier, masks, number=5)
    classifier.save(tmp_path / "classifier.keras")
    loaded = tfbackdoor.load_classifier(tmp_path / "classifier.keras")
    images = _images(classifier)
    # The same kernels on the same weights.
    np.testing.assert_array_equal(loaded(images), classifier(images))
    assert tfbackdoor.network.image_shape(loaded) == images.shape[1:]


@pytest.fixture
def eagerly():
    """Tracing takes longer than a step."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.filterwarnings("ignore:Even though the `tf.config")
@pytest.mark.parametrize("network", _TRAINED, indirect=True)
def test_copies_are_distilled(classifier, anp, eagerly):
    images = _images(classifier)
    scores = classifier(images, training=False)
    student, teacher = map(tfbackdoor.copy_classifier, [classifier] * 2)
    np.testing.assert_array_equal(student(images, training=False), scores)
    for weight in teacher.trainable_weights:
        weight.assign(1.01 * weight)
    before = teacher.get_weights()
    nad = tfbackdoor.NeuralAttentionDistillation(student, teacher)
    nad.compile(tfbackdoor.training.CoupledSGD(1e-3))
    labels = np.arange(len(images)) % _CLASSES
    history = nad.fit(images, labels, epochs=1, verbose=0).history
    assert np.isfinite(history["loss"][0])
    assert history["attention_loss"][0] > 0.0
    for old, weight in zip(before, teacher.get_weights()):
        np.testing.assert_array_equal(old, weight)
    masks = {name: mask * 0.5 for name, mask in anp.neuron_masks().items()}
    pruned = tfbackdoor.prune_neurons(student, masks, number=3)
    clean = tfbackdoor.training_batches(
        tfbackdoor.from_arrays(images, labels), 4, replacement=True
    )
    recovered = tfbackdoor.self_distill(
        student, classifier, clean, pruned, steps=1, verbose=0
    )
    assert np.all(np.isfinite(recovered(images, training=False)))
    for group in tfbackdoor.find_neurons(recovered)[0]:
        for variable, shape in group.zeroed:
            kept = ~np.isin(np.arange(group.count), pruned[group.layer])
            expected = variable.numpy() * kept.reshape(shape)
            np.testing.assert_array_equal(variable.numpy(), expected)


# The smallest stands for all: reading back in a new process takes long.
@pytest.mark.parametrize("network", ["MobileNetV3Small"], indirect=True)
def test_the_smallest_is_exported_and_read_back(classifier, tmp_path):
    folder = tfbackdoor.export_classifier(
        classifier, tmp_path, _images(classifier)
    )
    assert (folder / "saved_model").is_dir()
