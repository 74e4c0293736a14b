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
def test_only_the_scale_of_pruned_neurons_becomes_zero(name):
    classifier = specimens.build(name)
    masks = _masks(classifier)
    before = {id(v): v.numpy() for v in classifier.weights}
    pruned = tfbackdoor.prune_neurons(classifier, masks, threshold=0.4)
    neurons, _ = tfbackdoor.find_neurons(classifier)
    scales = {id(group.scale): group.layer for group in neurons}
    for variable in classifier.weights:
        expected = before[id(variable)].copy()
        if id(variable) in scales:
            layer = scales[id(variable)]
            np.testing.assert_array_equal(
                pruned[layer], np.flatnonzero(masks[layer] <= 0.4)
            )
            expected[..., pruned[layer]] = 0.0
        np.testing.assert_array_equal(variable.numpy(), expected)


def test_pruning_by_number_takes_the_smallest_masks():
    classifier = specimens.build("functional")
    masks = _masks(classifier)
    pruned = tfbackdoor.prune_neurons(classifier, masks, number=5)
    taken = [masks[layer][i] for layer, where in pruned.items() for i in where]
    smallest = np.sort(np.concatenate(list(masks.values())))[:5]
    np.testing.assert_array_equal(np.sort(taken), smallest)


def _balanced_classifier_and_its_images():
    """A classifier that gives several classes, images labelled as it does."""
    classifier = specimens.build("functional")
    images, _ = specimens.batch(40)
    head = classifier.get_layer("head")
    head.bias.assign(head.bias - np.mean(classifier(images), axis=0))
    labels = np.argmax(classifier(images), axis=1)
    return classifier, tfbackdoor.from_arrays(images, labels)


def test_curve_scores_as_pruning_each_copy_would():
    classifier, images = _balanced_classifier_and_its_images()
    masks = {name: np.ones(len(m)) for name, m in _masks(classifier).items()}
    masks["bn3"] = np.arange(8) / 10.0
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
        tfbackdoor.CurvePoint(
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
    ],
)
def test_choice_is_the_last_threshold_before_the_budget_breaks(
    accuracies, chosen
):
    point = tfbackdoor.choose_threshold(
        _curve(*accuracies), max_accuracy_drop=0.03
    )
    assert point.threshold == chosen


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
    tfbackdoor.save_masks(masks, tmp_path / "masks.npz")
    loaded = tfbackdoor.read_arrays(tmp_path / "masks.npz")
    assert loaded.keys() == masks.keys() == {"inner/bn"}
    np.testing.assert_array_equal(loaded["inner/bn"], masks["inner/bn"])
