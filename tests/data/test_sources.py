import io
import tarfile

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

import tfbackdoor
from tfbackdoor.data import sampling
from tfbackdoor.data import tar_archives


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


@pytest.mark.parametrize(
    ("names", "split"),
    [
        (("images", "labels"), "train"),
        (("x_train", "y_train"), "train"),
        (("x_test", "y_test"), "test"),
        (("val_images", "val_labels"), "val"),
    ],
)
def test_npz_of_other_names(tmp_path, names, split):
    values = np.full((3, 4, 4), 51, "uint8"), np.array([2, 0, 1])
    np.savez(tmp_path / "d.npz", **dict(zip(names, values)))
    images, labels = _arrays(tfbackdoor.load_images(tmp_path / "d.npz", split))
    np.testing.assert_allclose(images, 0.2, rtol=1e-6)
    assert labels.tolist() == [2, 0, 1]


@pytest.mark.parametrize("name", ["x", "images", "x_train"])
def test_npz_without_the_split_names_what_it_holds(tmp_path, name):
    np.savez(tmp_path / "d.npz", **{name: np.zeros(3), "labels": np.zeros(3)})
    with pytest.raises(
        tfbackdoor.data.MissingSplitError, match=rf"test_images.*'{name}'"
    ):
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


@pytest.mark.parametrize(
    "labels", [[0.0, 2.0], [[0], [2]], np.eye(3)[[0, 2]], [0, 2]]
)
def test_labels_of_any_form_are_read(labels):
    data = tfbackdoor.from_arrays(np.zeros((2, 4, 4, 1)), np.array(labels))
    assert [int(label) for _, label in data] == [0, 2]
    assert data.element_spec[1] == tf.TensorSpec((), tf.int64)


@pytest.mark.parametrize(
    "labels", [[0.5, 1.0], np.full((2, 3), 0.3), ["a", "b"], [0, 1, 2]]
)
def test_labels_that_name_no_class_are_refused(labels):
    with pytest.raises(ValueError, match="`labels`.*Received") as error:
        tfbackdoor.from_arrays(np.zeros((2, 4, 4, 1)), np.array(labels))
    assert "\n" not in str(error.value)


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


def test_draws_follow_weights():
    dataset = tfbackdoor.from_arrays(
        np.zeros((4, 2, 2, 1), "float32"), np.arange(4)
    )
    batches = tfbackdoor.training_batches(
        dataset, 100, replacement=True, weights=[1.0, 0.0, 2.0, 5.0]
    )
    labels = np.concatenate([labels for _, labels in batches.take(80)])
    # 8,000 draws: 1000 +- 30, 2000 +- 39, 5000 +- 43.
    counts = np.bincount(labels, minlength=4)
    assert np.abs(counts - [1000, 0, 2000, 5000]).max() < 200
    assert counts[1] == 0


def test_epochs_hold_every_image_once_in_new_order():
    dataset = tf.data.Dataset.range(50).map(lambda i: (i, i))
    batches = tfbackdoor.training_batches(dataset, 8, seed=0)
    epochs = [np.concatenate([i for i, _ in batches]) for _ in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(50))
    assert epochs[0].tolist() != epochs[1].tolist()


class LikeCifar100(tfds.core.GeneratorBasedBuilder):
    """A hundred classes and further features, as CIFAR-100 has them."""

    VERSION = tfds.core.Version("1.0.0")
    MODULE_PATH = __file__

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(),
                    "image": tfds.features.Image(shape=(4, 4, 3)),
                    "label": tfds.features.ClassLabel(num_classes=100),
                    "coarse_label": tfds.features.ClassLabel(num_classes=20),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for index in range(100):
            pixels = np.full((4, 4, 3), index, np.uint8)
            yield (
                index,
                {
                    "id": str(index),
                    "image": pixels,
                    "label": index,
                    "coarse_label": index % 20,
                },
            )


def test_cifar100_gives_its_fine_labels(tmp_path):
    LikeCifar100(data_dir=tmp_path).download_and_prepare()
    dataset = tfbackdoor.load_images("like_cifar100", data_dir=tmp_path)
    images, labels = _arrays(dataset)
    index = np.round(images[:, 0, 0, 0] * 255).astype(int)
    np.testing.assert_array_equal(labels, index)
    assert tfbackdoor.data.count_classes(dataset) == 100


# From (class, track) to the frames of that track; a pixel names all three.
_SIGNS = {(c, t): range(3 + t % 2) for c in range(2) for t in range(10)}


def _sign_files(frames=_SIGNS):
    files = {}
    for (label, track), indices in frames.items():
        for index in indices:
            pixels = np.zeros((4, 4, 3), np.uint8)
            pixels[..., :] = label, track, index
            name = f"train/{label:05d}/{track:05d}_{index:05d}.png"
            files[name] = tf.io.encode_png(pixels).numpy()
    return files


def _archive(path, files, mode="w", **attributes):
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for key, value in attributes.items():
                setattr(member, key, value)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture(params=["folder", "tar", "tar.gz"])
def signs(request, tmp_path):
    """A small GTSRB, unpacked or not."""
    if request.param != "folder":
        mode = "w:gz" if request.param == "tar.gz" else "w"
        files = {f"gtsrb/{k}": v for k, v in _sign_files().items()}
        return _archive(tmp_path / f"signs.{request.param}", files, mode)
    for name, content in _sign_files().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_signs_of_a_folder_or_archive_with_their_tracks(signs):
    images, labels = _arrays(tfbackdoor.load_images(signs))
    tracks = tfbackdoor.data.image_tracks(signs)
    assert len(images) == len(tracks) == 70
    of_pixels = np.round(images[:, 0, 0] * 255).astype(int)
    np.testing.assert_array_equal(labels, of_pixels[:, 0])
    assert tracks.tolist() == [f"{c:05d}/{t:05d}" for c, t, _ in of_pixels]
    resized, _ = _arrays(tfbackdoor.load_images(signs, image_size=(8, 6)))
    assert resized.shape == (70, 8, 6, 3)
    with pytest.raises(ValueError, match="test/<class>"):
        tfbackdoor.load_images(signs, "test")


def test_no_track_is_on_both_sides_of_a_split(signs):
    dataset = tfbackdoor.load_images(signs)
    tracks = tfbackdoor.data.image_tracks(signs)

    def split(sizes, seed=4):
        parts = tfbackdoor.split_images(
            dataset, sizes, seed=seed, tracks=tracks
        )
        return [
            {tuple(np.round(x[0, 0] * 255).astype(int)) for x, _ in p}
            for p in parts
        ]

    attacker, defender = split([0.6, 12])
    assert (len(attacker), len(defender)) == (42, 12)
    sides = [{frame[:2] for frame in side} for side in (attacker, defender)]
    assert not sides[0] & sides[1]
    # Six tracks of each class hold about 0.6 of its images, four are left.
    counts = [[sum(c == k for c, _ in side) for k in (0, 1)] for side in sides]
    assert all(5 <= count <= 7 for count in counts[0])
    assert all(count >= 2 for count in counts[1])
    # The attacker's part is the same whatever the defender takes.
    assert split([0.6, 0])[0] == attacker
    assert split([0.6, 12], seed=5)[0] != attacker


def test_parts_that_whole_tracks_do_not_leave_are_refused():
    dataset = tfbackdoor.from_arrays(np.zeros((20, 2, 2)), np.arange(20) // 10)
    tracks = np.array(["a"] * 10 + ["b"] * 10)
    with pytest.raises(ValueError, match="0 images are left for part 2"):
        tfbackdoor.split_images(dataset, [11, 5], tracks=tracks)


def test_tracks_need_file_names():
    with pytest.raises(ValueError, match="folder or tar archive.*digits"):
        tfbackdoor.data.image_tracks("digits")
    dataset = tfbackdoor.from_arrays(np.zeros((4, 2, 2)), np.arange(4))
    with pytest.raises(ValueError, match="`tracks` must name.*Received: 3"):
        tfbackdoor.split_images(dataset, [2], tracks=np.array(["a"] * 3))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../train/0/1_1.png", "must not lead outside"),
        ("/train/0/1_1.png", "must not lead outside"),
        ("x/train/0/../../1_1.png", "must not lead outside"),
    ],
)
def test_archives_that_lead_outside_are_refused(tmp_path, name, message):
    files = {**_sign_files(), name: b"x"}
    path = _archive(tmp_path / "a.tar", files)
    with pytest.raises(ValueError, match=message):
        tfbackdoor.load_images(path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.tar"]


def test_links_in_archives_are_passed_over(tmp_path):
    path = _archive(tmp_path / "a.tar", _sign_files())
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("train/00000/99_9.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert len(tfbackdoor.load_images(path)) == 70


def test_archives_that_are_too_large_or_broken_are_refused(
    tmp_path, monkeypatch
):
    path = _archive(tmp_path / "a.tar", _sign_files())
    with monkeypatch.context() as context:
        context.setattr(tar_archives, "_LARGEST_IMAGE", 10)
        with pytest.raises(ValueError, match="at most 10 bytes"):
            tfbackdoor.load_images(path)
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(ValueError, match="tar archive that can be read"):
        tfbackdoor.load_images(path)
    with pytest.raises(ValueError, match="does not exist"):
        tfbackdoor.load_images(tmp_path / "none.tar")
    files = {"train/0/1_1.png": b"not an image"}
    with pytest.raises(ValueError, match="train/0/1_1.png|0/1_1.png"):
        tfbackdoor.load_images(_archive(tmp_path / "b.tar", files))


def test_gtsrb_is_read_from_its_archive(shared):
    path = shared / "data" / "gtsrb_jpeg.tar"
    test = tfbackdoor.load_images(path, "test")
    assert len(test) == 12_630
    assert tuple(test.element_spec[0].shape) == (32, 32, 3)
    tracks = tfbackdoor.data.image_tracks(path)
    # 30 frames a track, but for one of 29.
    counts = np.unique(tracks, return_counts=True)[1]
    assert counts.sum() == 39_209 and len(counts) == 1307
