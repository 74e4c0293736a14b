import keras
import numpy as np
import pytest
import specimens

import tfbackdoor
from tfbackdoor.attacks import triggers


def _masks(classifier, seed=3):
    rng = np.random.default_rng(seed)
    neurons, _ = tfbackdoor.find_neurons(classifier)
    return {
        group.layer: rng.random(group.count).astype("float32")
        for group in neurons
    }


def _images():
    return tfbackdoor.from_arrays(*specimens.batch(40))


def _attack():
    return tfbackdoor.Poisoning(
        triggers.square(specimens.IMAGE_SHAPE), classes=specimens.CLASSES
    )


@pytest.mark.parametrize("name", specimens.NAMES)
def test_pruning_zeroes_what_holds_the_pruned_neurons_and_nothing_else(name):
    classifier = specimens.build(name)
    masks = _masks(classifier)
    neurons, _ = tfbackdoor.find_neurons(classifier)
    before = {id(v): v.numpy() for v in classifier.weights}
    pruned = tfbackdoor.prune_neurons(classifier, masks, threshold=0.4)
    expected = {key: value.copy() for key, value in before.items()}
    for group in neurons:
        where = np.flatnonzero(masks[group.layer] <= 0.4)
        np.testing.assert_array_equal(pruned[group.layer], where)
        for variable, shape in group.zeroed:
            neuron = np.arange(group.count).reshape(shape)
            expected[id(variable)] *= ~np.isin(neuron, where)
    for variable in classifier.weights:
        np.testing.assert_array_equal(variable.numpy(), expected[id(variable)])


@pytest.mark.parametrize("name", specimens.NAMES)
def test_pruned_classifier_gives_what_masks_of_zero_give(name):
    classifier = specimens.build(name)
    anp = tfbackdoor.AdversarialNeuronPruning(classifier)
    images, _ = specimens.batch(4)
    np.testing.assert_allclose(anp(images), classifier(images), atol=1e-5)
    for group, mask in zip(anp.neurons, anp.masks):
        mask.neuron_mask.assign(np.arange(group.count) % 3 > 0)
    masked = anp(images).numpy()
    assert np.abs(masked - classifier(images)).max() > 1e-3
    tfbackdoor.prune_neurons(classifier, anp.neuron_masks(), threshold=0.0)
    np.testing.assert_allclose(masked, classifier(images), atol=1e-5)


def test_a_pruned_channel_without_scale_gives_beta():
    classifier = specimens.build("unscaled")
    masks = {name: np.ones(len(m)) for name, m in _masks(classifier).items()}
    masks["bn"][2] = masks["bn2"][3] = 0.0
    tfbackdoor.prune_neurons(classifier, masks, number=2)
    normalised = keras.Model(
        classifier.inputs[0],
        [classifier.get_layer(name).output for name in ("bn", "bn2")],
    )
    first, second = normalised(specimens.batch(4)[0], training=False)
    beta = classifier.get_layer("bn").beta.numpy()[2]
    np.testing.assert_array_equal(first[..., 2], np.full((4, 6, 6), beta))
    # bn2 has no beta.
    np.testing.assert_array_equal(second[..., 3], np.zeros((4, 4, 4)))


def test_neurons_of_a_depthwise_convolution_are_its_output_channels():
    classifier = specimens.build("kernels")
    masks = {name: np.ones(len(m)) for name, m in _masks(classifier).items()}
    masks["depthwise"][[1, 4]] = masks["transposed"][3] = 0.0
    tfbackdoor.prune_neurons(classifier, masks, number=3)
    outputs = keras.Model(
        classifier.inputs[0],
        [classifier.get_layer(n).output for n in ("depthwise", "transposed")],
    )(specimens.batch(4)[0])
    for name, output in zip(("depthwise", "transposed"), outputs):
        # A channel without its kernel gives its bias, depthwise after ReLU.
        bias = classifier.get_layer(name).bias.numpy()
        if name == "depthwise":
            bias = np.maximum(bias, 0.0)
        silent = np.ptp(output, axis=(0, 1, 2)) == 0.0
        np.testing.assert_array_equal(silent, masks[name] == 0.0)
        np.testing.assert_array_equal(
            output[0, 0, 0].numpy()[silent], bias[silent]
        )


def test_pruning_by_number_takes_the_smallest_masks():
    classifier = specimens.build("functional")
    masks = _masks(classifier)
    pruned = tfbackdoor.prune_neurons(classifier, masks, number=5)
    taken = [masks[layer][i] for layer, where in pruned.items() for i in where]
    smallest = np.sort(np.concatenate(list(masks.values())))[:5]
    np.testing.assert_array_equal(np.sort(taken), smallest)


def _balanced_classifier_and_its_images(name="functional"):
    """A classifier that gives several classes, images labelled as it does."""
    classifier = specimens.build(name)
    images, _ = specimens.batch(40)
    head = classifier.get_layer("head")
    head.bias.assign(head.bias - np.mean(classifier(images), axis=0))
    labels = np.argmax(classifier(images), axis=1)
    return classifier, tfbackdoor.from_arrays(images, labels)


@pytest.mark.parametrize(
    ("name", "layer"), [("functional", "bn3"), ("unscaled", "bn")]
)
def test_curve_scores_as_pruning_each_copy_would(name, layer):
    classifier, images = _balanced_classifier_and_its_images(name)
    masks = {name: np.ones(len(m)) for name, m in _masks(classifier).items()}
    masks[layer] = np.arange(len(masks[layer])) / 10.0
    before = classifier.get_weights()
    curve = tfbackdoor.pruning_curve(
        classifier, masks, images, _attack(), thresholds=[0.0, 0.2, 0.1]
    )
    assert [point.threshold for point in curve] == [-1.0, 0.0, 0.1, 0.2]
    assert [point.pruned for point in curve] == [0, 1, 2, 3]
    assert curve[0].scores == tfbackdoor.evaluate(classifier, images, _attack())
    for point in curve[1:]:
        copy = tfbackdoor.copy_classifier(classifier)
        pruned = tfbackdoor.prune_neurons(
            copy, masks, threshold=point.threshold
        )
        assert point.pruned == sum(map(len, pruned.values()))
        assert point.scores == tfbackdoor.evaluate(copy, images, _attack())
    for old, new in zip(before, classifier.get_weights()):
        np.testing.assert_array_equal(old, new)


def test_curve_ends_at_chance():
    classifier, images = _balanced_classifier_and_its_images()
    curve = tfbackdoor.pruning_curve(classifier, _masks(classifier), images)
    accuracies = [point.scores.clean_accuracy for point in curve]
    at_chance = [rate.interval[0] <= 0.25 for rate in accuracies]
    assert at_chance == [False] * (len(curve) - 1) + [True]
    assert 1 < len(curve) < 21


# With all of n images right, Wilson's interval is z^2 / (n + z^2) wide, z =
# 1.96: half of it is 0.097 for 16 images, 0.054 for 32, 0.044 for 40.
@pytest.mark.parametrize(
    ("margin", "count"), [(0.1, 16), (0.055, 32), (0.045, 40), (0.0, 40)]
)
def test_curve_reads_as_many_images_as_its_margin_needs(margin, count):
    classifier, images = _balanced_classifier_and_its_images()
    (unpruned,) = tfbackdoor.pruning_curve(
        classifier,
        _masks(classifier),
        images,
        thresholds=[],
        margin=margin,
        batch_size=16,
    )
    assert unpruned.scores.clean_accuracy == tfbackdoor.Rate(count, count)


def _curve(*accuracies):
    return [
        tfbackdoor.defenses.CurvePoint(
            step / 10, step, tfbackdoor.Scores(tfbackdoor.Rate(correct, 100))
        )
        for step, correct in enumerate(accuracies)
    ]


@pytest.mark.parametrize(
    ("accuracies", "chosen"),
    [
        ((90, 89, 88, 80, 90), 0.2),  # The recovery at 0.4 does not count.
        ((90, 86, 90), 0.0),
        ((90, 91, 95), 0.2),
        ((93, 90, 80), 0.1),  # 0.93 - 0.9 > 0.03 where numbers are binary.
    ],
)
def test_choice_is_the_last_threshold_before_the_budget_breaks(
    accuracies, chosen
):
    point = tfbackdoor.choose_threshold(
        _curve(*accuracies), max_accuracy_drop=0.03
    )
    assert point.threshold == chosen


def test_a_confident_choice_keeps_the_whole_interval_in_the_budget():
    def point(step, lost):
        correct = np.arange(400) >= lost
        scores = tfbackdoor.Scores(
            tfbackdoor.Rate(400 - lost, 400), correct=correct
        )
        return tfbackdoor.defenses.CurvePoint(step / 10, step, scores)

    # 8 of 400 lost is 2 points, at most 3.5 with 95 % confidence; 4 is 1 point,
    # at most 2.1.
    curve = [point(step, lost) for step, lost in enumerate((0, 4, 8, 40))]
    choose = tfbackdoor.choose_threshold
    assert choose(curve, max_accuracy_drop=0.03).threshold == 0.2
    confident = choose(curve, max_accuracy_drop=0.03, confident=True)
    assert confident.threshold == 0.1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "`threshold` or `number`"),
        ({"threshold": 0.2, "number": 3}, "`threshold` or `number`"),
        ({"threshold": 1.2}, "`threshold` must lie"),
        ({"number": 99}, "`number` must lie in 0 to 20"),
    ],
)
def test_arguments_out_of_range_change_nothing(settings, message):
    classifier = specimens.build("functional")
    before = classifier.get_weights()
    with pytest.raises(ValueError, match=message):
        tfbackdoor.prune_neurons(classifier, _masks(classifier), **settings)
    for old, new in zip(before, classifier.get_weights()):
        np.testing.assert_array_equal(old, new)


def test_masks_of_another_classifier_are_refused():
    masks = _masks(specimens.build("nested"))
    with pytest.raises(
        ValueError, match="`neuron_masks`.*2 layers that differ"
    ):
        tfbackdoor.prune_neurons(
            specimens.build("subclassed"), masks, threshold=0.1
        )


def test_masks_round_trip_through_their_file(tmp_path):
    masks = _masks(specimens.build("nested"))
    tfbackdoor.defenses.save_masks(masks, tmp_path / "masks.npz")
    loaded = tfbackdoor.files.read_arrays(tmp_path / "masks.npz")
    assert loaded.keys() == masks.keys() == {"inner/bn"}
    np.testing.assert_array_equal(loaded["inner/bn"], masks["inner/bn"])
