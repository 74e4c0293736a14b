import importlib.util
import subprocess
import sys

import keras
import numpy as np
import pytest
import specimens

import tfbackdoor
from tfbackdoor.network import export
from tfbackdoor.network import read_back


def test_both_files_serve_without_this_package(tmp_path):
    classifier = specimens.build("functional")
    images, _ = specimens.batch(4)
    folder = tfbackdoor.export_classifier(classifier, tmp_path, images)
    np.save(tmp_path / "images.npy", images[:3])
    # Another batch size than the one exported, and only TensorFlow.
    program = (
        "import sys, numpy, tensorflow as tf\n"
        "served = tf.saved_model.load('saved_model')\n"
        "serve = served.signatures['serving_default']\n"
        "images = tf.constant(numpy.load('images.npy'))\n"
        "(scores,) = serve(images=images).values()\n"
        "numpy.save('scores.npy', scores.numpy())\n"
        "assert 'tfbackdoor' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=folder, check=True)
    np.testing.assert_allclose(
        np.load(tmp_path / "scores.npy"), classifier(images[:3]), atol=1e-5
    )


@keras.saving.register_keras_serializable("specimens")
class Doubled(keras.layers.Layer):
    def call(self, inputs):
        return inputs * 2.0


def _left(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_classifier_with_custom_objects_is_refused_and_not_lost(tmp_path):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Flatten()(Doubled()(inputs))
    classifier = keras.Model(inputs, keras.layers.Dense(2)(x))
    images, _ = specimens.batch(2)
    with pytest.raises(ValueError, match="`classifier` must load.*Doubled"):
        tfbackdoor.export_classifier(classifier, tmp_path / "out", images)
    # The SavedModel needs no code of the layer.
    assert _left(tmp_path / "out") == ["saved_model", "unverified.keras"]


def test_other_scores_are_an_error_and_never_called_the_classifier(
    tmp_path, monkeypatch
):
    classifier = specimens.build("functional")
    save = classifier.save

    def save_other(path):
        classifier.get_layer("head").bias.assign_add(np.ones(4))
        save(path)
        classifier.get_layer("head").bias.assign_sub(np.ones(4))

    monkeypatch.setattr(classifier, "save", save_other)
    images, _ = specimens.batch(2)
    with pytest.raises(ValueError, match="the same scores from its keras file"):
        tfbackdoor.export_classifier(classifier, tmp_path / "out", images)
    assert _left(tmp_path / "out") == ["saved_model", "unverified.keras"]


def _augmenting():
    """Augmentation layers of each kind, before and among the others."""
    inputs = keras.Input((8, 8, 3))
    x = keras.Sequential(
        [
            keras.layers.RandomFlip(seed=1),
            keras.layers.RandomRotation(0.2, seed=1),
            keras.layers.RandomTranslation(0.2, 0.2, seed=1),
            keras.layers.RandomZoom(0.2, seed=1),
            keras.layers.RandomContrast(0.5, seed=1),
        ]
    )(inputs)
    x = keras.layers.Conv2D(4, 3)(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.GaussianNoise(0.5, seed=1)(x)
    x = keras.layers.Dropout(0.5, seed=1)(keras.layers.Flatten()(x))
    return keras.Model(inputs, keras.layers.Dense(4)(x))


def test_augmentation_layers_do_nothing_in_any_format(tmp_path):
    pytest.importorskip("tf2onnx")
    images, _ = specimens.batch(4)
    folder = tfbackdoor.export_classifier(
        _augmenting(),
        tmp_path,
        images,
        formats=("saved_model", "litert", "onnx"),
    )
    assert _left(folder) == [
        "classifier.keras",
        "classifier.onnx",
        "classifier.tflite",
        "saved_model",
    ]


def test_a_format_that_fails_loses_no_other(tmp_path, monkeypatch):
    classifier = specimens.build("functional")
    images, _ = specimens.batch(4)
    monkeypatch.setattr(
        export,
        "_read_back",
        lambda paths, *_: {name: {"difference": 0.0} for name in paths},
    )
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda x: None if x == "onnx" else found(x)
    )
    with pytest.raises(
        ValueError, match=r"onnx needs pip install 'tfbackdoor\[export\]'"
    ) as error:
        tfbackdoor.export_classifier(
            classifier, tmp_path, images, formats=["onnx", "saved_model"]
        )
    assert "holds classifier.keras, saved_model." in str(error.value)
    assert _left(tmp_path) == ["classifier.keras", "saved_model"]
    loaded = tfbackdoor.load_classifier(tmp_path / "classifier.keras")
    np.testing.assert_allclose(loaded(images), classifier(images), atol=1e-6)


def _here(paths, images, scores):
    """As `export._read_back`, in this process, which takes less time."""
    return {
        name: read_back._read(name, str(path), images, scores)
        for name, path in paths.items()
    }


def _of_bytes_in_a_dict():
    inputs = keras.Input((8, 8, 1), dtype="uint8", name="image")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255.0)(inputs))
    return keras.Model({"image": inputs}, {"scores": keras.layers.Dense(3)(x)})


def _without_channels_in_a_list():
    inputs = keras.Input((8, 8))
    x = keras.layers.Dense(3)(keras.layers.Flatten()(inputs))
    return keras.Model([inputs], [x])


@pytest.mark.parametrize(
    "make", [_of_bytes_in_a_dict, _without_channels_in_a_list]
)
def test_what_takes_and_gives_other_structures_is_served(
    tmp_path, monkeypatch, make
):
    monkeypatch.setattr(export, "_read_back", _here)
    classifier = make()
    images = np.random.default_rng(0).integers(0, 255, (4, 8, 8, 1))
    tfbackdoor.export_classifier(classifier, tmp_path, images)
    assert _left(tmp_path) == ["classifier.keras", "saved_model"]


def test_a_classifier_of_several_outputs_is_not_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "_read_back", _here)
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Flatten()(inputs)
    outputs = [keras.layers.Dense(2)(x), keras.layers.Dense(3)(x)]
    classifier = keras.Model(inputs, outputs)
    with pytest.raises(ValueError, match="`classifier` must have one output"):
        tfbackdoor.export_classifier(
            classifier, tmp_path, specimens.batch(2)[0]
        )
    assert _left(tmp_path) == ["unverified.keras"]


def test_an_unknown_format_is_refused_before_any_work(tmp_path):
    images, _ = specimens.batch(4)
    with pytest.raises(ValueError, match=r"`formats`.*'litert'.*\['tflite'\]"):
        tfbackdoor.export_classifier(
            specimens.build("functional"), tmp_path, images, formats=["tflite"]
        )
    assert not _left(tmp_path)
