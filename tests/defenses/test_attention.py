import keras
import numpy as np
import pytest
import specimens

import tfbackdoor
from tfbackdoor.defenses import attention


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
