import keras
import numpy as np
import pytest
import specimens

import tfbackdoor
from tfbackdoor import structure


def _found(name):
    neurons, skipped = tfbackdoor.find_neurons(specimens.build(name))
    return [(group.layer, group.count) for group in neurons], skipped


@pytest.mark.parametrize(
    ("name", "expected", "skipped"),
    [
        (
            "functional",
            [("bn", 6), ("bn2", 6), ("bn3", 8)],
            {"conv", "conv2", "conv3", "head"},
        ),
        ("sequential_softmax", [("bn", 6), ("hidden", 8)], {"conv", "head"}),
        ("nested", [("inner/bn", 6)], {"conv", "head"}),
        ("shared_layer", [("bn", 6)], {"conv", "conv2", "head"}),
        ("without_normalisation", [("conv", 6), ("conv2", 5)], {"head"}),
        ("subclassed", [("bn", 6)], {"conv", "head"}),
    ],
)
def test_neurons_of_each_kind_of_model(name, expected, skipped):
    found, left_out = _found(name)
    assert found == expected
    assert set(left_out) == skipped


def test_a_normalisation_without_scale_leaves_the_neurons_to_its_layer():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(5, 3, name="conv"),
            keras.layers.BatchNormalization(scale=False, name="bn"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(2),
        ]
    )
    neurons, skipped = tfbackdoor.find_neurons(model)
    assert [group.layer for group in neurons] == ["conv"]
    assert skipped["bn"] == "normalises without scale"


def test_depthwise_channels_are_skipped_with_the_reason():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.DepthwiseConv2D(3, name="depthwise"),
            keras.layers.Conv2D(5, 1, name="conv"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(2),
        ]
    )
    neurons, skipped = tfbackdoor.find_neurons(model)
    assert [group.layer for group in neurons] == ["conv"]
    assert "DepthwiseConv2D" in skipped["depthwise"]


def test_a_classifier_without_neurons_is_refused():
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    with pytest.raises(ValueError, match="`classifier` must hold neurons"):
        tfbackdoor.find_neurons(model)


@pytest.mark.parametrize("name", specimens.NAMES)
def test_recorded_outputs_are_those_of_the_layers(name):
    model = specimens.build(name)
    layers = structure.named_layers(model)
    recorder = structure.OutputRecorder({"head": layers["head"]})
    images, _ = specimens.batch()
    with recorder.recording() as outputs:
        expected = model(images, training=False)
    np.testing.assert_array_equal(outputs["head"], expected)
    assert "call" not in vars(layers["head"])
