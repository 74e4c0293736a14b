import json

import numpy as np
import planted
import pytest
import tensorflow as tf

import tfbackdoor
from tfbackdoor import attacks
from tfbackdoor.attacks import triggers

SHAPE = (8, 8, 1)


def _images(count=200, classes=4):
    rng = np.random.default_rng(0)
    images = rng.random((count, *SHAPE)).astype("float32") * 0.5
    labels = np.arange(count) % classes
    return images, labels, tfbackdoor.from_arrays(images, labels)


def _poisoning(**changes):
    return tfbackdoor.Poisoning(
        **{"trigger": triggers.square(SHAPE), "classes": 4, **changes}
    )


def _arrays(dataset):
    images, labels = next(iter(dataset.batch(len(dataset))))
    return images.numpy(), labels.numpy()


@pytest.mark.parametrize(
    ("trigger", "message"),
    [
        (lambda x: tf.cast(255.0 * x, tf.uint8), "uint8"),
        (lambda x: 255.0 * x, "from 0 to 255"),
        (lambda x: x[:, :4], r"\(4, 8, 1\)"),
        (lambda x: np.flip(x.numpy(), 1), "one that fails with"),
    ],
)
def test_a_trigger_that_gives_no_such_images_is_refused(trigger, message):
    classifier = planted.classifier()
    attack = tfbackdoor.Poisoning(trigger, classes=2)
    for call in (
        lambda: tfbackdoor.evaluate(
            classifier, planted.images(60), attack, preprocess="[0, 1]"
        ),
        lambda: tfbackdoor.attacks.retune(
            classifier, planted.images(60), attack
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_images_of_whole_numbers_are_no_images_of_a_trigger():
    with pytest.raises(ValueError, match="float in .* uint8"):
        triggers.square(SHAPE)(np.zeros((1, *SHAPE), "uint8"))


def test_numbers_of_numpy_are_written(tmp_path):
    folder = tmp_path / "new"
    _poisoning(target=np.int64(2), rate=np.float32(0.5)).save(folder)
    kept = tfbackdoor.Poisoning.load(folder)
    assert (kept.target, kept.rate) == (2, 0.5)


@pytest.mark.parametrize(
    "settings",
    [{"target": "1"}, {"target": 1.0}, {"classes": None}, {"rate": "0.1"}],
)
def test_settings_of_another_kind_are_refused(settings):
    (name,) = settings
    with pytest.raises(ValueError, match=f"`{name}` must be a.*number"):
        _poisoning(**settings)


@pytest.mark.parametrize(
    ("mode", "eligible"),
    [("all_to_one", 150), ("all_to_all", 200), ("clean_label", 50)],
)
def test_rate_is_the_share_of_eligible_images(mode, eligible):
    _, labels, dataset = _images()
    poisoned, record = tfbackdoor.attacks.poison(
        dataset, _poisoning(mode=mode, target=2, rate=0.1)
    )
    assert len(record.indices) == round(0.1 * eligible)
    if mode == "all_to_one":
        assert 2 not in labels[record.indices]
    if mode == "clean_label":
        assert set(labels[record.indices]) == {2}
    assert len(poisoned) == 200


@pytest.mark.parametrize(
    ("mode", "relabel"),
    [
        ("all_to_one", lambda labels: np.full_like(labels, 2)),
        ("all_to_all", lambda labels: (labels + 1) % 4),
        ("clean_label", lambda labels: labels),
    ],
)
def test_only_the_recorded_images_are_poisoned(mode, relabel):
    images, labels, dataset = _images()
    poisoned, record = tfbackdoor.attacks.poison(
        dataset, _poisoning(mode=mode, target=2, rate=0.2)
    )
    new_images, new_labels = _arrays(poisoned)
    chosen = np.zeros(200, bool)
    chosen[record.indices] = True
    np.testing.assert_array_equal(new_images[~chosen], images[~chosen])
    np.testing.assert_array_equal(new_labels[~chosen], labels[~chosen])
    np.testing.assert_array_equal(new_labels[chosen], relabel(labels[chosen]))
    # The white 3x3 square lies one pixel from the bottom right corner.
    assert (new_images[chosen][:, 4:7, 4:7] == 1.0).all()


class _Grey:
    """0.5 in tests, 0.6 in training, 0.7 on covers."""

    def __call__(self, images):
        return images * 0.0 + 0.5

    def in_training(self, images):
        return images * 0.0 + 0.6

    def cover(self, images):
        return images * 0.0 + 0.7


@pytest.mark.parametrize("mode", ["all_to_one", "all_to_all", "clean_label"])
def test_covers_are_stamped_and_keep_their_labels(mode):
    images, labels, dataset = _images(600)
    poisoned, record = tfbackdoor.attacks.poison(
        dataset,
        _poisoning(
            trigger=_Grey(), mode=mode, target=2, rate=0.1, cover_ratio=2.0
        ),
    )
    assert len(poisoned) == 600
    new_images, new_labels = _arrays(poisoned)
    indices, covers = record.indices, record.covers
    assert len(set(covers) - set(indices)) == 2 * len(indices)
    assert set(labels[covers]) == set(range(4))
    assert (new_images[indices] == np.float32(0.6)).all()
    assert (new_images[covers] == np.float32(0.7)).all()
    np.testing.assert_array_equal(new_labels[covers], labels[covers])
    np.testing.assert_array_equal(
        new_labels[indices], record.attacked_labels(labels[indices])
    )
    rest = np.setdiff1d(np.arange(600), [*indices, *covers])
    np.testing.assert_array_equal(new_images[rest], images[rest])
    np.testing.assert_array_equal(new_labels[rest], labels[rest])


def test_covers_change_nothing_about_what_is_poisoned():
    _, _, dataset = _images()
    records = [
        tfbackdoor.attacks.poison(
            dataset, _poisoning(trigger=_Grey(), cover_ratio=ratio, seed=seed)
        )[1]
        for ratio, seed in ((0.0, 1), (1.0, 1), (1.0, 1), (1.0, 2))
    ]
    np.testing.assert_array_equal(records[0].indices, records[1].indices)
    np.testing.assert_array_equal(records[1].covers, records[2].covers)
    assert not len(records[0].covers)
    assert set(records[1].covers) != set(records[3].covers)


def test_covers_need_images_and_a_trigger_that_makes_them():
    _, _, dataset = _images(8)
    with pytest.raises(
        ValueError, match="`trigger` must have a method `cover`"
    ):
        tfbackdoor.attacks.poison(dataset, _poisoning(cover_ratio=1.0))
    with pytest.raises(ValueError, match="`cover_ratio` must leave"):
        tfbackdoor.attacks.poison(
            dataset,
            _poisoning(trigger=_Grey(), rate=0.5, cover_ratio=2.0),
        )


@pytest.mark.parametrize("shape", [(8, 8, 1), (5, 9, 3)])
@pytest.mark.parametrize(
    ("make", "file"),
    [
        (attacks.make_warp, "warp.npz"),
        (lambda _: attacks.Dithering(5), "dithering.npz"),
        (
            lambda shape: attacks.MaskedBlend(np.full(shape, 0.9), rows=3),
            "masked_blend.npz",
        ),
    ],
)
def test_triggers_with_covers_stamp_equally_after_loading(
    make, file, shape, tmp_path
):
    images = np.random.default_rng(1).random((6, *shape)).astype("float32")
    dataset = tfbackdoor.from_arrays(images, [0, 1, 2, 0, 1, 2])
    _, record = attacks.poison(
        dataset,
        _poisoning(trigger=make(shape), target=1, rate=0.5, cover_ratio=1.5),
    )
    record.save(tmp_path)
    assert (tmp_path / file).is_file()
    loaded = tfbackdoor.Poisoning.load(tmp_path)
    assert (loaded.cover_ratio, len(loaded.covers)) == (1.5, 3)
    np.testing.assert_array_equal(loaded.covers, record.covers)
    np.testing.assert_array_equal(loaded.indices, record.indices)
    for method in ("__call__", "cover"):
        stamped = getattr(record.trigger, method)(images)
        assert stamped.shape == images.shape
        assert np.abs(stamped - images).max() > 0.01
        assert 0.0 <= np.min(stamped) <= np.max(stamped) <= 1.0
        np.testing.assert_array_equal(
            getattr(loaded.trigger, method)(images), stamped
        )


def test_records_without_covers_are_read(tmp_path):
    _poisoning(indices=np.array([3, 5])).save(tmp_path)
    settings = json.loads((tmp_path / "poisoning.json").read_text())
    del settings["cover_ratio"], settings["covers"]
    (tmp_path / "poisoning.json").write_text(json.dumps(settings))
    np.savez(tmp_path / "poisoned_indices.npz", indices=np.array([3, 5]))
    loaded = tfbackdoor.Poisoning.load(tmp_path)
    assert (loaded.cover_ratio, len(loaded.covers)) == (0.0, 0)
    np.testing.assert_array_equal(loaded.indices, [3, 5])


def test_the_same_seed_poisons_the_same_images():
    _, _, dataset = _images()
    first, second, other = (
        tfbackdoor.attacks.poison(dataset, _poisoning(seed=seed))[1].indices
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, second)
    assert set(first) != set(other)


def test_the_record_round_trips_through_its_files(tmp_path):
    _, _, dataset = _images()
    _, record = tfbackdoor.attacks.poison(
        dataset, _poisoning(mode="clean_label", target=3, rate=0.5, seed=9)
    )
    record.save(tmp_path)
    loaded = tfbackdoor.Poisoning.load(tmp_path)
    np.testing.assert_array_equal(loaded.indices, record.indices)
    np.testing.assert_array_equal(loaded.trigger.mask, record.trigger.mask)
    settings = ("mode", "target", "classes", "rate", "seed")
    assert [getattr(loaded, n) for n in settings] == [
        "clean_label",
        3,
        4,
        0.5,
        9,
    ]


def test_any_callable_is_a_trigger_but_cannot_be_written(tmp_path):
    _, _, dataset = _images()
    poisoned, record = tfbackdoor.attacks.poison(
        dataset, _poisoning(trigger=lambda images: images * 0.0 + 0.75)
    )
    new_images, _ = _arrays(poisoned)
    assert (new_images[record.indices] == 0.75).all()
    with pytest.raises(TypeError, match="`trigger`"):
        record.save(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "changes",
    [{"mode": "some"}, {"target": 4}, {"rate": 0.0}, {"cover_ratio": -1.0}],
)
def test_settings_out_of_range_are_refused(changes):
    with pytest.raises(ValueError, match=f"`{next(iter(changes))}`"):
        _poisoning(**changes)


def test_a_rate_that_poisons_nothing_is_refused():
    _, _, dataset = _images(8)
    with pytest.raises(ValueError, match="`rate`"):
        tfbackdoor.attacks.poison(dataset, _poisoning(rate=0.01))


def test_a_broken_record_is_named(tmp_path):
    (tmp_path / "poisoning.json").write_text(json.dumps({"mode": 1}))
    with pytest.raises(ValueError, match="`folder`.*poisoning.json"):
        tfbackdoor.Poisoning.load(tmp_path)
