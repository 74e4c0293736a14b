import json

import numpy as np
import pytest

import tfbackdoor
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
    "changes", [{"mode": "some"}, {"target": 4}, {"rate": 0.0}]
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
