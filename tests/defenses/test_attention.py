import keras
import numpy as np
import pytest
import specimens

import tfbackdoor
from tfbackdoor.defenses import attention
from tfbackdoor.network import feature_shapes
from tfbackdoor.network import structure


def test_attention_map_sums_powers_over_channels():
    features = np.array([[[[1.0, -2.0], [3.0, 0.0]]]], "float32")
    np.testing.assert_allclose(
        tfbackdoor.attention_map(features, power=2.0), [[[5.0, 9.0]]]
    )
    np.testing.assert_allclose(
        tfbackdoor.attention_map(features, power=3.0), [[[9.0, 27.0]]]
    )


def test_loss_is_one_value_an_image_and_zero_for_equal_attention():
    rng = np.random.default_rng(0)
    features = rng.random((3, 4, 4, 2)).astype("float32")
    loss = tfbackdoor.AttentionTransfer()
    # A positive factor leaves the normalised map as it is.
    values = loss.call(features, 3.0 * features)
    assert values.shape == (3,)
    np.testing.assert_allclose(values, 0.0, atol=1e-10)


def test_loss_equals_numpy():
    rng = np.random.default_rng(0)
    teacher, student = rng.normal(size=(2, 3, 4, 5, 6))

    def normalised(features):
        flat = (features**2).sum(-1).reshape(3, 20)
        return flat / np.linalg.norm(flat, axis=1, keepdims=True)

    expected = ((normalised(teacher) - normalised(student)) ** 2).mean(1)
    values = tfbackdoor.AttentionTransfer().call(
        teacher.astype("float32"), student.astype("float32")
    )
    np.testing.assert_allclose(values, expected, atol=1e-6)


def test_loss_round_trips_through_its_config():
    config = tfbackdoor.AttentionTransfer(power=3.0).get_config()
    assert tfbackdoor.AttentionTransfer.from_config(config).power == 3.0


@pytest.mark.parametrize(
    ("name", "maps"),
    [
        ("functional", ["add", "relu3"]),
        ("sequential_softmax", ["elu"]),
        ("nested", ["inner/relu"]),
        ("shared_layer", ["relu2"]),
        ("subclassed", ["relu"]),
    ],
)
def test_the_last_feature_maps_are_those_of_each_resolution(name, maps):
    assert attention.last_feature_maps(specimens.build(name)) == maps


def test_there_are_no_feature_maps_in_a_dense_network():
    dense = keras.Sequential(
        [keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    assert attention.last_feature_maps(dense) == []
    with pytest.raises(ValueError, match="larger than 1x1"):
        tfbackdoor.find_taps(dense)


def test_taps_of_a_wide_resnet_are_its_groups_as_in_the_paper():
    classifier = tfbackdoor.models.wide_resnet((32, 32, 3), 10)
    assert tfbackdoor.find_taps(classifier) == ["group1", "group2", "group3"]


def test_taps_are_the_last_feature_maps_where_there_is_no_residual_sum():
    for name in ("sequential_softmax", "nested"):
        classifier = specimens.build(name)
        maps = attention.last_feature_maps(classifier)
        assert tfbackdoor.find_taps(classifier) == maps


def test_unknown_and_1x1_taps_list_the_valid_names():
    classifier = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3, name="conv"),
            keras.layers.GlobalAveragePooling2D(keepdims=True, name="pool"),
            keras.layers.Flatten(),
            keras.layers.Dense(2),
        ]
    )
    for tap in ("nowhere", "pool"):
        with pytest.raises(ValueError, match=rf"\['conv'\].*\['{tap}'\]"):
            attention.check_taps(classifier, [tap])


def test_constant_attention_is_refused():
    attention.check_not_constant("tap", np.random.rand(2, 3, 3, 1))
    with pytest.raises(ValueError, match="`taps`.*'tap'.*constant"):
        attention.check_not_constant("tap", np.ones((2, 3, 3, 1)))


def _transformer(patches=4, class_token=False):
    """Patches of a 16x16 image, attention between them, and a sum."""
    size = 16 // patches
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(24, size, size, name="patches")(inputs)
    x = keras.layers.Reshape((patches**2, 24), name="tokens")(x)
    if class_token:
        x = keras.layers.ZeroPadding1D((1, 0), name="class_token")(x)
    y = keras.layers.LayerNormalization(name="norm")(x)
    y = keras.layers.MultiHeadAttention(4, 6, name="mha")(y, y)
    x = keras.layers.Add(name="sum")([x, y])
    y = keras.layers.Dense(24, activation="gelu", name="mlp")(x)
    x = keras.layers.GlobalAveragePooling1D()(x + y)
    return keras.Model(inputs, keras.layers.Dense(4, name="head")(x))


def test_attention_over_tokens_sums_powers_over_their_channels():
    tokens = np.array([[[1.0, -2.0], [3.0, 0.0], [0.0, 0.0]]], "float32")
    np.testing.assert_allclose(
        tfbackdoor.attention_map(tokens), [[5.0, 9.0, 0.0]]
    )
    norm = np.sqrt(25.0 + 81.0)
    np.testing.assert_allclose(
        attention.normalised_attention(tokens),
        [[5.0 / norm, 9.0 / norm, 0.0]],
        rtol=1e-5,
    )


def test_taps_of_a_transformer_are_its_tokens_not_its_heads():
    classifier = _transformer()
    shapes = feature_shapes.feature_shapes(classifier)
    assert shapes == {
        "patches": (4, 4, 24),
        "tokens": (16, 24),
        "norm": (16, 24),
        "mha/attention_output": (16, 24),
        "sum": (16, 24),
        "mlp": (16, 24),
    }
    assert tfbackdoor.find_taps(classifier) == ["sum"]
    assert attention.last_feature_maps(classifier) == ["mlp"]
    with pytest.raises(ValueError, match="`taps` must be.*'mha/query'"):
        attention.check_taps(classifier, ["mha/query"])


def test_heads_of_an_attention_of_layers_are_no_map():
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(24, 4, 4, name="patches")(inputs)
    x = keras.layers.Reshape((16, 24), name="tokens")(x)
    y = keras.layers.Reshape((16, 4, 6), name="heads")(x)
    y = keras.layers.Permute((2, 1, 3), name="permuted")(y)
    y = keras.layers.Activation("relu", name="activation")(y)
    y = keras.layers.Permute((2, 1, 3), name="back")(y)
    x = keras.layers.Reshape((16, 24), name="out")(y)
    x = keras.layers.Reshape((4, 4, 24), name="map")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(4)(x))
    assert feature_shapes.feature_shapes(model) == {
        "patches": (4, 4, 24),
        "tokens": (16, 24),
        "out": (16, 24),
        "map": (4, 4, 24),
    }


def test_a_class_token_is_a_position_and_not_drawn():
    classifier = _transformer(class_token=True)
    taps = tfbackdoor.find_taps(classifier)
    # 17 tokens with the class token, before 16 patches.
    assert taps == ["sum", "tokens"]
    images = np.random.default_rng(0).random((2, 16, 16, 3)).astype("float32")
    recorder = structure.OutputRecorder.of_names(classifier, taps)
    with recorder.recording() as outputs:
        classifier(images, training=False)
    maps = attention.attention_maps(classifier, images, taps)
    for tap, drawn in (("sum", slice(1, None)), ("tokens", slice(None))):
        expected = (outputs[tap].numpy()[0] ** 2).sum(-1)[drawn]
        np.testing.assert_allclose(maps[tap], expected.reshape(4, 4), rtol=1e-5)


@pytest.mark.parametrize(
    ("tokens", "aspect", "shape"),
    [
        (16, 1.0, (4, 4)),
        (17, 1.0, (4, 4)),
        (18, 0.5, (3, 6)),
        (19, 0.5, (3, 6)),
        (7, 1.0, (1, 7)),
    ],
)
def test_tokens_are_laid_out_as_they_were_cut(tokens, aspect, shape):
    assert attention._in_rows(np.arange(tokens), aspect).shape == shape


def test_attention_over_other_numbers_of_tokens_is_refused():
    with pytest.raises(
        ValueError,
        match=r"number of tokens.*\(64, 24\) for \(16, 24\) at 'sum'",
    ):
        tfbackdoor.NeuralAttentionDistillation(
            _transformer(), _transformer(patches=8), taps=["sum"]
        )


def test_a_transformer_learns_the_attention_of_its_teacher():
    student, teacher = _transformer(), _transformer()
    nad = tfbackdoor.NeuralAttentionDistillation(
        student, teacher, betas=[1000.0]
    )
    nad.compile(tfbackdoor.training.CoupledSGD(0.01))
    rng = np.random.default_rng(0)
    images = rng.random((16, 16, 16, 3)).astype("float32")
    history = nad.fit(
        images, rng.integers(0, 4, 16), batch_size=8, epochs=4, verbose=0
    ).history
    assert history["attention_loss"][-1] < 0.5 * history["attention_loss"][0]
