"""Whether a range of pixels is found, and noticed where images are wrong."""

import keras
import numpy as np
import planted
import pytest

import tfbackdoor
from tfbackdoor.network import door
from tfbackdoor.network import facts
from tfbackdoor.network import public_call
from tfbackdoor.network import range_trials

L = keras.layers


def _arrays(split):
    images = tfbackdoor.load_images("digits", split)
    return next(images.batch(2000).as_numpy_iterator())


(TRAIN, TRAIN_LABELS), (IMAGES, LABELS) = map(_arrays, ("train", "test"))


def _tent(x):
    """Rises to 0.7 and falls to 0: of another scale it is another shape."""
    return keras.ops.relu(x) - 10.0 / 3.0 * keras.ops.relu(x - 0.7)


def _nearest_mean(scale=1.0, offset=0.0):
    """A classifier of images `scale * x + offset`, by the nearest mean.

    `|x - m|^2` is smallest where `2 x.m - |m|^2` is largest.
    """
    tents = keras.ops.convert_to_numpy(_tent(TRAIN)).reshape(len(TRAIN), -1)
    of_class = np.eye(10)[TRAIN_LABELS]
    means = of_class.T @ tents / of_class.sum(axis=0)[:, None]
    inputs = keras.Input((16, 16, 1))
    x = L.Flatten()(_tent((inputs - offset) / scale))
    x = L.Dense(10, name="means")(x)
    model = keras.Model(inputs, L.Softmax()(x))
    bias = -0.5 * np.sum(means**2, axis=1)
    model.get_layer("means").set_weights([means.T, bias])
    return model


def _accuracy(classifier, images, labels=LABELS):
    answers = np.argmax(classifier.predict(images, verbose=0), axis=1)
    return float(np.mean(answers == labels))


@pytest.mark.parametrize(
    ("scale", "offset", "name"),
    [
        (1.0, 0.0, "[0, 1]"),
        (16.0, 0.0, "[0, 16]"),
        (255.0, 0.0, "[0, 255]"),
        (65535.0, 0.0, "[0, 65535]"),
        (1.0, -0.5, "[-0.5, 0.5]"),
        (2.0, -1.0, "[-1, 1]"),
    ],
)
def test_a_scale_of_pixels_is_found(scale, offset, name):
    classifier = _nearest_mean(scale, offset)
    accuracy = _accuracy(classifier, scale * IMAGES + offset)
    assert accuracy > 0.75
    found = tfbackdoor.find_value_range(classifier, (IMAGES, LABELS))
    assert found.name == name
    scores = tfbackdoor.evaluate(classifier, (IMAGES, LABELS))
    assert scores.clean_accuracy.value == pytest.approx(accuracy, abs=1e-6)


def test_ranges_that_accuracy_cannot_tell_apart_are_named():
    images = np.repeat(IMAGES, 3, axis=-1)
    mean, deviation = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    inputs = keras.Input((16, 16, 3))
    x = L.Rescaling(deviation, mean)(inputs)
    grey = keras.ops.mean(x, axis=-1, keepdims=True)
    classifier = keras.Model(inputs, _nearest_mean()(grey))
    with pytest.warns(tfbackdoor.network.RangeWarning) as noted:
        found = tfbackdoor.find_value_range(classifier, (images, LABELS))
    alike = {found.name, *found.rivals}
    assert {"ImageNet mean/std", "CIFAR mean/std"} <= alike
    assert "[0, 255]" not in alike
    (warning,) = noted
    assert warning.filename == __file__
    assert all(name in str(warning.message) for name in alike)
    assert "`preprocess=` says which is right" in found.doubt


def test_a_few_points_beyond_chance_are_enough():
    first = _trial(range(15, 500))
    second = _trial(range(500), sure=0.9)
    assert second.beats(first) and not first.beats(second)
    assert not _trial(range(500), sure=0.2).beats(first)
    assert not _trial(range(7, 500), sure=0.9).beats(_trial(range(500)))


def _trial(right, sure=0.5):
    """A trial of 500 images that answers those of `right` right."""
    trial = object.__new__(range_trials.Trial)
    trial.right = np.isin(np.arange(500), right)
    trial.likelihood = np.log(sure)
    return trial


def _wrong(kind):
    if kind == "shuffled":
        return IMAGES, (3 * LABELS + 1) % 10
    if kind == "darkened":
        return IMAGES / 16.0, LABELS
    return IMAGES, np.random.default_rng(0).permutation(LABELS)


@pytest.mark.parametrize("kind", ["shuffled", "darkened", "random"])
def test_images_are_judged_though_the_range_is_known(kind):
    classifier = _nearest_mean()
    tfbackdoor.evaluate(classifier, (IMAGES, LABELS))
    assert facts.facts_of(classifier).value_range.name == "[0, 1]"
    if kind == "darkened":
        admitted = door.admit(classifier, _wrong(kind))
        assert admitted.values.name == "[0, 16]"
        return
    with pytest.raises(ValueError, match="`images` must be images that"):
        tfbackdoor.evaluate(classifier, _wrong(kind))
    with pytest.raises(ValueError, match="`clean` must be images that"):
        door.admit(classifier, _wrong(kind))


def test_a_classifier_is_admitted_until_the_outer_call_ends():
    classifier, copies = _nearest_mean(), []

    @public_call.public_call
    def outer():
        outer = door.admit(classifier, (IMAGES, LABELS))
        assert outer.classifier is classifier
        # Within a call all images are taken as they are: some may be hard.
        tfbackdoor.evaluate(classifier, _wrong("random"))
        copies.append(tfbackdoor.copy_classifier(classifier))
        assert facts.facts_of(copies[0]).is_admitted
        raise RuntimeError

    # The error, and with it all that its frames hold, is kept.
    with pytest.raises(RuntimeError) as kept:
        outer()
    assert not facts.facts_of(classifier).is_admitted
    assert not facts.facts_of(copies[0]).is_admitted
    with pytest.raises(ValueError, match="`images` must be images that"):
        tfbackdoor.evaluate(classifier, _wrong("random"))
    del kept


def test_a_copy_that_became_worse_is_scored_in_the_known_range():
    classifier = _nearest_mean(255.0)
    tfbackdoor.evaluate(classifier, (IMAGES, LABELS))
    copied = tfbackdoor.copy_classifier(classifier)
    kernel, bias = copied.get_layer("means").get_weights()
    rng = np.random.default_rng(0)
    copied.get_layer("means").set_weights([rng.permutation(kernel), bias])
    scores = tfbackdoor.evaluate(copied, (IMAGES, LABELS))
    expected = _accuracy(copied, 255.0 * IMAGES)
    assert scores.clean_accuracy.value == pytest.approx(expected, abs=1e-6)
    assert expected < 0.4


def test_labels_in_another_order_are_noticed_for_a_copy_too():
    classifier = _nearest_mean()
    tfbackdoor.evaluate(classifier, (IMAGES, LABELS))
    copied = tfbackdoor.copy_classifier(classifier)
    with pytest.raises(ValueError, match="numbered as in training"):
        tfbackdoor.evaluate(copied, _wrong("shuffled"))


@pytest.mark.parametrize("kind", ["random", "shuffled"])
def test_test_images_that_the_classifier_does_not_know_are_refused(kind):
    classifier = _nearest_mean()
    with pytest.raises(ValueError, match="`test` must be images that"):
        tfbackdoor.purify(classifier, (IMAGES, LABELS), test=_wrong(kind))


def _uneven():
    """200 images of class 0, which is the answer without light, 10 of 3."""
    images, labels = next(planted.images(1200).batch(1200).as_numpy_iterator())
    rows = np.concatenate(
        [np.flatnonzero(labels == 0), np.flatnonzero(labels == 3)[:10]]
    )
    return images[rows], labels[rows]


@pytest.mark.parametrize(("levels", "name"), [(1, "[0, 1]"), (255, "[0, 255]")])
def test_images_mostly_of_one_class_are_judged_by_all(levels, name):
    images, labels = _uneven()
    found = tfbackdoor.find_value_range(
        planted.classifier(levels), (images, labels)
    )
    assert found.name == name


@pytest.mark.parametrize(
    ("seldom", "often", "known"),
    # Of 10 and of 200: a constant answer, a guess of either, and skill.
    [(0, 200, False), (1, 190, False), (5, 100, False), (8, 194, True)],
)
def test_accuracy_below_the_largest_share_may_be_above_chance(
    seldom, often, known
):
    trial = object.__new__(range_trials.Trial)
    trial.recalls = [np.arange(200) < often, np.arange(10) < seldom]
    trial.accuracy = tfbackdoor.Rate(seldom + often, 210)
    labels = np.repeat([0, 3], [200, 10])
    assert range_trials.is_above_chance(trial, labels) == known


def test_test_images_mostly_of_one_class_are_taken():
    classifier = _nearest_mean()
    admitted = door.admit(classifier, (IMAGES, LABELS))
    rows = np.concatenate(
        [np.flatnonzero(LABELS == 8), np.flatnonzero(LABELS == 1)[:2]]
    )
    admitted.more((IMAGES[rows], LABELS[rows]))
