import keras
import numpy as np
import pytest
import specimens

import tfbackdoor
from tfbackdoor.network import classifiers


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.filterwarnings("ignore:.*HDF5 file")
def test_keras_and_h5_files_load(tmp_path, suffix):
    classifier = specimens.build("functional")
    classifier.save(tmp_path / f"c{suffix}")
    loaded = tfbackdoor.load_classifier(tmp_path / f"c{suffix}")
    images, _ = specimens.batch()
    np.testing.assert_allclose(loaded(images), classifier(images), atol=1e-6)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="none.keras, which does not exist"):
        tfbackdoor.load_classifier(tmp_path / "none.keras")


def test_a_corrupt_file_is_named(tmp_path):
    (tmp_path / "c.keras").write_bytes(b"not a zip")
    with pytest.raises(ValueError, match="c.keras, which is corrupt"):
        tfbackdoor.load_classifier(tmp_path / "c.keras")


def test_a_truncated_file_is_named(tmp_path):
    specimens.build("functional").save(tmp_path / "c.keras")
    content = (tmp_path / "c.keras").read_bytes()
    (tmp_path / "c.keras").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="c.keras"):
        tfbackdoor.load_classifier(tmp_path / "c.keras")


def test_a_saved_model_is_told_apart(tmp_path):
    specimens.build("functional").export(str(tmp_path / "s"), verbose=False)
    with pytest.raises(ValueError, match="a SavedModel, whose weights"):
        tfbackdoor.load_classifier(tmp_path / "s")


def test_code_in_a_file_does_not_run(tmp_path):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Lambda(lambda t: t * 2.0)(inputs)
    x = keras.layers.Dense(3)(keras.layers.Flatten()(x))
    keras.Model(inputs, x).save(tmp_path / "c.keras")
    with pytest.raises(ValueError, match="without custom code"):
        tfbackdoor.load_classifier(tmp_path / "c.keras")


@pytest.mark.parametrize("name", specimens.NAMES)
def test_softmax_and_logits_are_told_apart(name):
    gives_logits = classifiers.gives_logits(specimens.build(name))
    assert gives_logits == (name not in specimens.GIVE_PROBABILITIES)


@pytest.mark.parametrize(
    ("activation", "gives_logits"),
    [
        ("softmax", False),
        ("log_softmax", True),
        # Two scores of 0.5 look like a distribution and are none.
        ("sigmoid", True),
        (lambda x: keras.ops.softmax(x), False),
    ],
)
def test_a_distribution_is_told_by_its_activation(activation, gives_logits):
    head = keras.layers.Dense(
        2, activation=activation, kernel_initializer="zeros"
    )
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Flatten(), head]
    )
    assert classifiers.gives_logits(model) == gives_logits


@pytest.mark.parametrize("name", specimens.NAMES)
def test_shape_and_classes_of_each_kind_of_model(name):
    classifier = specimens.build(name)
    assert tfbackdoor.network.image_shape(classifier) == specimens.IMAGE_SHAPE
    assert tfbackdoor.network.class_count(classifier) == specimens.CLASSES


def test_the_way_out_of_channels_first_gives_the_same_scores():
    images = specimens.batch(4)[0]
    inputs, first = keras.Input((8, 8, 3)), keras.Input((3, 8, 8))
    last = keras.layers.Permute((3, 1, 2))(inputs)
    models = [
        keras.Model(x, keras.layers.Dense(4)(keras.layers.Flatten()(y)))
        for x, y in ((first, first), (inputs, last))
    ]
    models[1].set_weights(models[0].get_weights())
    np.testing.assert_allclose(
        models[1](images), models[0](images.transpose(0, 3, 1, 2)), rtol=1e-5
    )


def test_a_model_that_is_no_classifier_is_refused():
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs))
    with pytest.raises(ValueError, match="`classifier` must give one score"):
        tfbackdoor.AdversarialNeuronPruning(model)
