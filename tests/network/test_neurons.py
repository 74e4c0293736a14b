import concurrent.futures

import keras
import numpy as np
import pytest
import specimens

import tfbackdoor
from tfbackdoor.network import structure


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
        (
            "unscaled",
            [("bn", 6), ("bn2", 5)],
            {"conv", "conv2", "conv3", "bn3", "head"},
        ),
        (
            "kernels",
            [("depthwise", 6), ("separable", 5), ("transposed", 4)],
            {"head"},
        ),
        (
            "other_normalisations",
            [("group_norm", 6), ("layer_norm", 5)],
            {"conv", "conv2", "head"},
        ),
        (
            "preprocessed",
            [("base/bn", 6), ("hidden", 5)],
            {"adapted", "base/conv", "head"},
        ),
    ],
)
def test_neurons_of_each_kind_of_model(name, expected, skipped):
    found, left_out = _found(name)
    assert found == expected
    assert set(left_out) == skipped


def _classifier(*layers):
    """The layers between images (8, 8, 3) and a head of 2 classes."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            *layers,
            keras.layers.Flatten(),
            keras.layers.Dense(3, name="hidden"),
            keras.layers.Dense(2, name="head"),
        ]
    )


_UNSCALED = "normalises without scale"
_INDIRECT = "does not directly follow one"
_UNDONE = "undoes any mask"


@pytest.mark.parametrize(
    ("layers", "reasons"),
    [
        # Zero through a sigmoid is 0.5: pruning would not silence the channel.
        (
            [
                keras.layers.Conv2D(5, 3, activation="sigmoid", name="conv"),
                keras.layers.BatchNormalization(scale=False, name="bn"),
            ],
            {"conv": _UNDONE, "bn": _INDIRECT},
        ),
        (
            [
                keras.layers.BatchNormalization(scale=False, name="bn"),
                keras.layers.Conv2D(5, 3, name="conv"),
            ],
            {"bn": _INDIRECT},
        ),
        # Normalised along the rows, not over the channels of the kernel.
        (
            [
                keras.layers.Conv2D(6, 3, name="conv"),
                keras.layers.BatchNormalization(scale=False, axis=1, name="bn"),
            ],
            {"conv": _UNDONE, "bn": _INDIRECT},
        ),
        # A mask before it lasts: the other channels are not rescaled alike.
        (
            [
                keras.layers.Conv2D(6, 3, name="conv"),
                keras.layers.LayerNormalization(scale=False, name="norm"),
            ],
            {"norm": _UNSCALED},
        ),
        (
            [
                keras.layers.Conv2D(6, 3, name="conv"),
                keras.layers.LayerNormalization(axis=(1, 2, 3), name="norm"),
            ],
            {"norm": r"scale of shape (6, 6, 6)"},
        ),
        (
            [keras.layers.EinsumDense("bhwc,cd->bhwd", (8, 8, 4), name="sum")],
            {"sum": "no maskable neurons in a EinsumDense"},
        ),
    ],
)
def test_what_cannot_be_masked_is_reported_with_the_reason(layers, reasons):
    neurons, skipped = tfbackdoor.find_neurons(_classifier(*layers))
    assert skipped.pop("head") == "gives the class scores"
    assert skipped.keys() == reasons.keys()
    for name, reason in reasons.items():
        assert reason in skipped[name]
    names = {layer.name for layer in layers} | {"hidden"}
    assert {group.layer for group in neurons} == names - reasons.keys()


def test_a_channel_that_feeds_two_layers_is_not_pruned_for_one():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="conv")(inputs)
    y = keras.layers.BatchNormalization(scale=False, name="bn")(x)
    x = keras.layers.Flatten()(keras.layers.Add()([x, y]))
    x = keras.layers.Dense(3, name="hidden")(x)
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    neurons, skipped = tfbackdoor.find_neurons(model)
    assert [group.layer for group in neurons] == ["hidden"]
    assert _INDIRECT in skipped["bn"]


def test_calls_in_other_models_do_not_count():
    conv = keras.layers.Conv2D(4, 3, name="conv")
    inputs = keras.Input((8, 8, 3))
    keras.layers.BatchNormalization()(conv(inputs))
    x = keras.layers.BatchNormalization(scale=False, name="bn")(conv(inputs))
    x = keras.layers.Flatten()(x)
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    neurons, _ = tfbackdoor.find_neurons(model)
    assert [group.layer for group in neurons] == ["bn"]


def test_a_subclassed_model_says_that_it_cannot_be_cloned():
    model = specimens.Subclassed(scale=False)
    model(np.zeros((1, 8, 8, 3), "float32"))
    with pytest.raises(ValueError, match="model that Keras cannot clone"):
        tfbackdoor.find_neurons(model)


@keras.saving.register_keras_serializable("specimens")
class _Block(keras.layers.Layer):
    """Convolution and normalisation in a layer of one's own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.conv = keras.layers.Conv2D(4, 3, name="conv")
        self.bn = keras.layers.BatchNormalization(name="bn")

    def build(self, shape):
        self.conv.build(shape)
        self.bn.build(self.conv.compute_output_shape(shape))

    def call(self, inputs, training=False):
        return self.bn(self.conv(inputs), training=training)


def test_layers_inside_a_layer_are_found():
    model = _classifier(_Block(name="block"))
    neurons, skipped = tfbackdoor.find_neurons(model)
    assert [group.layer for group in neurons] == ["block/bn", "hidden"]
    assert skipped.keys() == {"block/conv", "head"}


def test_a_model_inside_a_model_without_graph_keeps_its_head():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Rescaling(2.0),
            specimens.Subclassed(name="inner"),
        ]
    )
    neurons, skipped = tfbackdoor.find_neurons(model)
    assert [group.layer for group in neurons] == ["inner/bn"]
    assert skipped["inner/head"] == "gives the class scores"


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
    last = layers.get("softmax", layers["head"])
    recorder = structure.OutputRecorder({"last": last})
    images, _ = specimens.batch()
    with recorder.recording() as outputs:
        expected = model(images, training=False)
    np.testing.assert_array_equal(outputs["last"], expected)
    assert "call" not in vars(last)


def test_recordings_of_one_layer_may_nest_and_overlap():
    model = specimens.build("functional")
    layer = model.get_layer("conv")
    first, second = (
        structure.OutputRecorder({name: layer}) for name in ("a", "b")
    )
    images, _ = specimens.batch()
    outer, inner = first.recording(), second.recording()
    recorded = outer.__enter__()
    also = inner.__enter__()
    model(images)
    # The one that began first ends first.
    outer.__exit__(None, None, None)
    once = recorded["a"]
    model(2.0 * images)
    inner.__exit__(None, None, None)
    np.testing.assert_array_equal(recorded["a"], once)
    assert not np.array_equal(also["b"], once)
    assert "call" not in vars(layer)


def test_another_thread_may_call_a_model_that_is_recorded():
    model = specimens.build("functional")
    recorder = structure.OutputRecorder({"conv": model.get_layer("conv")})
    images, _ = specimens.batch()
    expected = model(images)
    with (
        concurrent.futures.ThreadPoolExecutor(1) as pool,
        recorder.recording() as outputs,
    ):
        np.testing.assert_array_equal(
            pool.submit(model, images).result(), expected
        )
        assert not outputs
        model(images)
        assert list(outputs) == ["conv"]


def test_a_call_set_on_a_layer_itself_is_kept():
    model = specimens.build("functional")
    layer = model.get_layer("conv")
    own = layer.call = layer.call
    with structure.OutputRecorder({"conv": layer}).recording():
        model(specimens.batch()[0])
    assert layer.call is own
