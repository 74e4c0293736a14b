import json
import zipfile

import h5py
import keras
import pytest

import tfbackdoor
from tfbackdoor.files import messages

pytestmark = pytest.mark.filterwarnings("ignore:.*HDF5 file")


def _depthwise():
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.DepthwiseConv2D(3, name="depthwise"),
            keras.layers.Flatten(),
            keras.layers.Dense(3, name="head"),
        ]
    )


def _as_keras_2(config):
    """What Keras 2 writes, and Keras 3 refuses."""
    for layer in config["config"]["layers"]:
        if layer["class_name"] == "DepthwiseConv2D":
            layer["config"]["groups"] = 1
    return config


def _legacy_file(folder):
    path = folder / "old.h5"
    _depthwise().save(path)
    with h5py.File(path, "r+") as file:
        config = _as_keras_2(json.loads(file.attrs["model_config"]))
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"] = "2.15.0"
    return path


def _archive(folder):
    _depthwise().save(folder / "new.keras")
    path = folder / "old.keras"
    with (
        zipfile.ZipFile(folder / "new.keras") as new,
        zipfile.ZipFile(path, "w") as old,
    ):
        for name in new.namelist():
            content = new.read(name)
            if name == "config.json":
                content = json.dumps(_as_keras_2(json.loads(content)))
            if name == "metadata.json":
                content = json.dumps({"keras_version": "2.15.0"})
            old.writestr(name, content)
    return path


@pytest.mark.parametrize(
    ("write", "way_out"),
    [
        (_legacy_file, r"network.set_weights\(tf_keras.*'old.h5'"),
        (_archive, r"tf_keras.*'old.keras', compile=False\).save\('old.h5'\)"),
    ],
)
def test_a_file_of_keras_2_keeps_the_reason_and_says_what_to_do(
    tmp_path, write, way_out
):
    reason = "Unrecognized keyword arguments passed to DepthwiseConv2D"
    with pytest.raises(
        ValueError,
        match=rf"saved by Keras 2.15.0.*{reason}: \{{'groups': 1\}}.*{way_out}",
    ) as refusal:
        tfbackdoor.load_classifier(write(tmp_path))
    assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("plain", "plain"),
        ("two\n  lines\x1b[31m", "two lines"),
        (
            "config={...}.\n\nException encountered: Bad: {'g': 1}",
            "Bad: {'g': 1}",
        ),
        ("No class 'A'. Full object config: {'a': 1}", "No class 'A'."),
        ("bell\a", "bell?"),
        ("", "ValueError"),
    ],
)
def test_the_reason_is_told_in_one_line(message, expected):
    assert messages.one_line(ValueError(message)) == expected


def test_of_a_long_message_both_ends_are_kept():
    shown = messages.one_line("begin " + "x" * 1000 + " end", limit=45)
    assert shown.startswith("begin xx") and shown.endswith("xx end")
    assert len(shown) == 45


def _misnamed(folder, name):
    """A model file under another name, or bytes that are none."""
    model = _depthwise()
    kinds = {"zip.h5": "keras", "hdf5.keras": "h5", "model.zip": "keras"}
    kinds |= {"model.pb": None, "model.onnx": None, "model.pt": None}
    kind = kinds.get(name, "weights.h5")
    path = folder / f"m.{kind}"
    if kind is None:
        path.write_bytes(b"no model")
    elif kind == "weights.h5":
        model.save_weights(path)
    else:
        model.save(path)
    return path.rename(folder / name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("zip.h5", "an .h5 file.*which is a .keras archive"),
        ("hdf5.keras", "a .keras archive.*which is an .h5 file"),
        ("model.zip", "end in .keras.*a .keras archive: name it so"),
        ("model.pt", "end in .keras.*load_pytorch_weights"),
        ("model.onnx", "end in .keras.*that was converted"),
        ("weights.h5", "weights alone.*load_weights"),
    ],
)
def test_a_file_of_another_kind_is_told_with_the_way_out(
    tmp_path, name, message
):
    path = _misnamed(tmp_path, name)
    with pytest.raises(ValueError, match=f"`path` must .*{message}") as error:
        tfbackdoor.load_classifier(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", [None, 3, _depthwise])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(TypeError, match="`path` must be that of"):
        tfbackdoor.load_classifier(path)
    with pytest.raises(TypeError, match="`source` must be a path"):
        tfbackdoor.load_images(path)


@pytest.mark.parametrize("size", [16, (8, 8, 3), (0, 8), ("8", "8"), (8, None)])
def test_an_image_size_that_is_none_is_refused(tmp_path, size):
    path = tmp_path / "model.keras"
    _depthwise().save(path)
    with pytest.raises(ValueError, match="`image_size` must be .height, width"):
        tfbackdoor.load_classifier(path, image_size=size)


def test_a_size_other_than_the_fixed_one_is_refused(tmp_path):
    path = tmp_path / "model.keras"
    classifier = _depthwise()
    classifier.save(path)
    size = classifier.input_shape[1:3]
    assert tfbackdoor.load_classifier(path, image_size=size).input_shape == (
        classifier.input_shape
    )
    with pytest.raises(ValueError, match="`image_size` must be the size that"):
        tfbackdoor.load_classifier(path, image_size=(size[0] + 1, size[1]))


def test_a_file_is_no_data_set(tmp_path):
    path = tmp_path / "model.keras"
    _depthwise().save(path)
    with pytest.raises(ValueError, match="`source` must be 'digits', an .npz"):
        tfbackdoor.load_images(path)
