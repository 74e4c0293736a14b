import subprocess
import sys

import keras
import numpy as np
import pytest
import specimens

import tfbackdoor


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


def test_a_classifier_with_custom_objects_is_refused_and_removed(tmp_path):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Flatten()(Doubled()(inputs))
    classifier = keras.Model(inputs, keras.layers.Dense(2)(x))
    images, _ = specimens.batch(2)
    with pytest.raises(ValueError, match="`classifier` must load"):
        tfbackdoor.export_classifier(classifier, tmp_path / "out", images)
    assert not list((tmp_path / "out").iterdir())


def test_other_scores_are_an_error_and_removed(tmp_path, monkeypatch):
    classifier = specimens.build("functional")
    save = classifier.save

    def save_other(path):
        classifier.get_layer("head").bias.assign_add(np.ones(4))
        save(path)

    monkeypatch.setattr(classifier, "save", save_other)
    images, _ = specimens.batch(2)
    with pytest.raises(ValueError, match="the same scores from its keras file"):
        tfbackdoor.export_classifier(classifier, tmp_path / "out", images)
    assert not list((tmp_path / "out").iterdir())
