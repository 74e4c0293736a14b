import keras
import numpy as np
import pytest
import tensorflow as tf

from tfbackdoor.network import layers


def test_mask_of_one_changes_nothing():
    mask = layers.NeuronMask(3)
    scale, offset = mask(np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0]))
    np.testing.assert_array_equal(scale, [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(offset, [4.0, 5.0, 6.0])


def test_mask_follows_equation_6():
    mask = layers.NeuronMask(2)
    mask.build()
    mask.neuron_mask.assign([0.5, 0.25])
    scale, offset = mask(
        np.array([2.0, 4.0]),
        np.array([1.0, 3.0]),
        scale_noise=np.array([0.1, -0.05]),
        offset_noise=np.array([0.2, -0.5]),
    )
    # (0.5 + 0.1) * 2, (0.25 - 0.05) * 4; (1 + 0.2) * 1, (1 - 0.5) * 3.
    np.testing.assert_allclose(scale, [1.2, 0.8], rtol=1e-6)
    np.testing.assert_allclose(offset, [1.2, 1.5], rtol=1e-6)


def test_mask_applies_to_the_last_axis_of_a_kernel_without_offset():
    mask = layers.NeuronMask(2)
    mask.build()
    mask.neuron_mask.assign([0.0, 1.0])
    kernel = np.ones((3, 3, 4, 2), "float32")
    scale, offset = mask(kernel)
    assert offset is None
    assert float(tf.reduce_sum(scale[..., 0])) == 0.0
    assert float(tf.reduce_sum(scale[..., 1])) == 36.0


def test_mask_is_kept_in_the_unit_interval_by_the_optimizer():
    mask = layers.NeuronMask(2)
    mask.build()
    optimizer = keras.optimizers.SGD(1.0)
    optimizer.apply([tf.constant([5.0, -5.0])], [mask.neuron_mask])
    np.testing.assert_array_equal(mask.neuron_mask.numpy(), [0.0, 1.0])


def test_mask_round_trips_through_its_config():
    config = layers.NeuronMask(6, (3, 2), name="mask").get_config()
    mask = layers.NeuronMask.from_config(config)
    assert (mask.neurons, mask.shape, mask.name) == (6, (3, 2), "mask")


def test_a_model_with_a_mask_round_trips_through_a_file(tmp_path):
    inputs = [keras.Input((3,)), keras.Input((3,))]
    outputs = layers.NeuronMask(3, name="mask")(*inputs)
    model = keras.Model(inputs, outputs)
    model.get_layer("mask").neuron_mask.assign([0.1, 0.2, 0.3])
    model.save(tmp_path / "masked.keras")
    loaded = keras.models.load_model(tmp_path / "masked.keras")
    ones = np.ones((1, 3), "float32")
    scale, offset = loaded([ones, ones])
    np.testing.assert_allclose(scale, [[0.1, 0.2, 0.3]])
    np.testing.assert_allclose(offset, ones)


def test_the_constraint_of_a_mask_is_serialisable():
    config = keras.constraints.serialize(layers.UnitInterval())
    constraint = keras.constraints.deserialize(config)
    np.testing.assert_array_equal(
        constraint(np.array([-1.0, 0.5, 2.0])), [0.0, 0.5, 1.0]
    )


def test_mask_takes_the_shape_of_a_depthwise_kernel():
    mask = layers.NeuronMask(6, (3, 2))
    mask.build()
    mask.neuron_mask.assign(np.arange(6) / 10.0)
    scale, offset = mask(
        np.ones((5, 5, 3, 2), "float32"),
        np.ones(6, "float32"),
        offset_noise=np.arange(6, dtype="float32"),
    )
    np.testing.assert_allclose(
        scale[4, 4], [[0.0, 0.1], [0.2, 0.3], [0.4, 0.5]]
    )
    np.testing.assert_allclose(offset, [1, 2, 3, 4, 5, 6])


def test_mask_refuses_no_neurons_and_a_shape_of_others():
    with pytest.raises(ValueError, match="`neurons`"):
        layers.NeuronMask(0)
    with pytest.raises(ValueError, match="`shape` must hold 6 neurons"):
        layers.NeuronMask(6, (3, 3))


def _normalised(x, gamma, beta, epsilon):
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    return gamma * (x - mean) / np.sqrt(variance + epsilon) + beta


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_fused_normalisation_equals_numpy_and_keeps_unbiased_variance(
    precision,
):
    x = (
        np.random.default_rng(0)
        .normal(1.0, 2.0, (4, 3, 3, 2))
        .astype(precision)
    )
    layer = layers.FusedBatchNormalization(momentum=0.9, dtype=precision)
    layer.build(x.shape)
    layer.gamma.assign([1.5, 0.5])
    layer.beta.assign([-1.0, 2.0])
    outputs = layer(x, training=True)
    expected = _normalised(x, [1.5, 0.5], [-1.0, 2.0], layer.epsilon)
    np.testing.assert_allclose(outputs, expected, atol=1e-5)
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2), ddof=1)
    np.testing.assert_allclose(layer.moving_mean, 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(
        layer.moving_variance, 0.9 + 0.1 * variance, rtol=1e-5
    )


@pytest.mark.parametrize("scale", [True, False])
def test_fused_normalisation_equals_keras_at_inference(scale):
    x = np.random.default_rng(0).normal(size=(4, 3, 3, 2)).astype("float32")
    fused = layers.FusedBatchNormalization(scale=scale, center=False)
    plain = keras.layers.BatchNormalization(scale=scale, center=False)
    for layer in (fused, plain):
        layer.build(x.shape)
        layer.moving_mean.assign([0.5, -0.5])
        layer.moving_variance.assign([2.0, 3.0])
    np.testing.assert_allclose(fused(x), plain(x), atol=1e-6)


def test_frozen_fused_normalisation_uses_and_keeps_moving_statistics():
    x = np.random.default_rng(0).normal(size=(4, 3, 3, 2)).astype("float32")
    layer = layers.FusedBatchNormalization(trainable=False)
    np.testing.assert_allclose(
        layer(x, training=True), layer(x, training=False)
    )
    np.testing.assert_array_equal(layer.moving_mean, [0.0, 0.0])


def test_fused_normalisation_of_features_without_positions():
    x = np.random.default_rng(0).normal(size=(16, 5)).astype("float32")
    layer = layers.FusedBatchNormalization(momentum=0.9)
    outputs = layer(x, training=True)
    np.testing.assert_allclose(
        outputs, (x - x.mean(0)) / np.sqrt(x.var(0) + layer.epsilon), atol=1e-5
    )
    np.testing.assert_allclose(
        layer.moving_variance, 0.9 + 0.1 * x.var(0, ddof=1), rtol=1e-5
    )
