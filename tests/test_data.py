import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

import tfbackdoor
from tfbackdoor import sampling


def _arrays(dataset):
    images, labels = next(iter(dataset.batch(10_000)))
    return images.numpy(), labels.numpy()


def test_digits_are_all_there_in_range_and_disjoint():
    train, test = (
        _arrays(tfbackdoor.load_images("digits", split))
        for split in ("train", "test")
    )
    assert len(train[1]) + len(test[1]) == 1797
    assert train[0].shape[1:] == (16, 16, 1) and train[0].dtype == np.float32
    assert train[0].min() == 0.0 and train[0].max() == 1.0
    counts = np.bincount(train[1]) + np.bincount(test[1])
    # The class counts of the UCI test set.
    assert counts.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_npz_of_bytes_becomes_the_unit_range(tmp_path):
    images = np.arange(2 * 4 * 4).reshape(2, 4, 4).astype("uint8") * 8
    np.savez(
        tmp_path / "d.npz", train_images=images, train_labels=np.array([1, 0])
    )
    loaded, labels = _arrays(tfbackdoor.load_images(tmp_path / "d.npz"))
    np.testing.assert_allclose(loaded[..., 0], images / 255.0, rtol=1e-6)
    assert labels.tolist() == [1, 0] and labels.dtype == np.int64


def test_npz_without_the_split_names_what_it_holds(tmp_path):
    np.savez(tmp_path / "d.npz", x=np.zeros(3))
    with pytest.raises(ValueError, match=r"test_images.*with \['x'\]"):
        tfbackdoor.load_images(tmp_path / "d.npz", "test")


def test_corrupt_npz_is_refused(tmp_path):
    (tmp_path / "d.npz").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(ValueError, match="`path`.*cannot be read"):
        tfbackdoor.load_images(tmp_path / "d.npz")


def test_folder_of_classes(tmp_path):
    for label, name in enumerate(("cat", "dog")):
        folder = tmp_path / "train" / name
        folder.mkdir(parents=True)
        pixels = np.full((6, 5, 3), 100 * label + 50, "uint8")
        tf.io.write_file(str(folder / "1.png"), tf.io.encode_png(pixels))
    images, labels = _arrays(tfbackdoor.load_images(tmp_path))
    by_label = dict(zip(labels.tolist(), images[:, 0, 0, 0].tolist()))
    assert by_label == pytest.approx({0: 50 / 255, 1: 150 / 255})
    resized = tfbackdoor.load_images(tmp_path, image_size=(3, 3))
    assert _arrays(resized)[0].shape == (2, 3, 3, 3)


def test_folder_without_the_split_is_refused(tmp_path):
    (tmp_path / "other").mkdir()
    with pytest.raises(ValueError, match=r"train/<class>.*\['other'\]"):
        tfbackdoor.load_images(tmp_path)


class TinyImages(tfds.core.GeneratorBasedBuilder):
    """Six images whose pixels are their index."""

    VERSION = tfds.core.Version("1.0.0")
    MODULE_PATH = __file__

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(4, 4, 3)),
                    "label": tfds.features.ClassLabel(num_classes=3),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for index in range(6):
            pixels = np.full((4, 4, 3), index, np.uint8)
            yield index, {"image": pixels, "label": index % 3}


def test_any_tfds_name(tmp_path):
    TinyImages(data_dir=tmp_path).download_and_prepare()
    dataset = tfbackdoor.load_images("tiny_images", data_dir=tmp_path)
    assert len(dataset) == 6
    images, labels = _arrays(dataset)
    index = np.round(images[:, 0, 0, 0] * 255).astype(int)
    np.testing.assert_array_equal(labels, index % 3)
    with pytest.raises(ValueError, match=r"`split`.*\['train'\]"):
        tfbackdoor.load_images("tiny_images", "test", data_dir=tmp_path)


def test_a_tfds_name_that_is_not_prepared_asks_for_download(tmp_path):
    with pytest.raises(ValueError, match="`download` must be true"):
        tfbackdoor.load_images("tiny_images", data_dir=tmp_path)


def test_an_unknown_source_is_refused(tmp_path):
    with pytest.raises(ValueError, match="Received: 'no_such_images'"):
        tfbackdoor.load_images("no_such_images", data_dir=tmp_path)


def test_labels_must_be_integers():
    with pytest.raises(ValueError, match="`labels`"):
        tfbackdoor.from_arrays(np.zeros((2, 4, 4, 1)), np.zeros(2))


def test_splits_are_disjoint_sized_and_reproducible():
    dataset = tf.data.Dataset.range(100).map(lambda i: (i, i))
    first = sampling.split_images(dataset, [0.9, 5], seed=3)
    again = sampling.split_images(dataset, [0.9, 5], seed=3)
    parts = [[int(i) for i, _ in part] for part in first]
    assert [len(part) for part in parts] == [90, 5]
    assert not set(parts[0]) & set(parts[1])
    assert parts == [[int(i) for i, _ in part] for part in again]


def test_splits_larger_than_the_data_are_refused():
    dataset = tf.data.Dataset.range(10).map(lambda i: (i, i))
    with pytest.raises(ValueError, match="`sizes`.*at most 10"):
        sampling.split_images(dataset, [0.9, 5])


def test_draws_with_replacement_are_endless_uniform_and_seeded():
    dataset = tfbackdoor.from_arrays(
        np.zeros((10, 2, 2, 1), "float32"), np.arange(10)
    )

    def draw():
        batches = tfbackdoor.training_batches(
            dataset, 100, seed=1, replacement=True
        )
        return np.concatenate([labels for _, labels in batches.take(50)])

    labels = draw()
    np.testing.assert_array_equal(labels, draw())
    # 5,000 draws of 10: a count is 500 +- 21; 100 is near 5 deviations.
    assert np.abs(np.bincount(labels, minlength=10) - 500).max() < 100


def test_epochs_hold_every_image_once_in_new_order():
    dataset = tf.data.Dataset.range(50).map(lambda i: (i, i))
    batches = tfbackdoor.training_batches(dataset, 8, seed=0)
    epochs = [np.concatenate([i for i, _ in batches]) for _ in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(50))
    assert epochs[0].tolist() != epochs[1].tolist()
