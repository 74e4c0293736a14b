import numpy as np
import pytest
import tensorflow as tf

import tfbackdoor
from tfbackdoor.training import optimizers


def _pytorch_sgd(w, gradients, rates, momentum, nesterov, l2):
    """The update rule of torch.optim.SGD, in numpy."""
    velocity = 0.0
    for gradient, rate in zip(gradients, rates):
        d = gradient + l2 * w
        velocity = momentum * velocity + d
        w = w - rate * (d + momentum * velocity if nesterov else velocity)
    return w


@pytest.mark.parametrize("nesterov", [False, True])
def test_steps_equal_pytorch_when_the_learning_rate_changes(nesterov):
    variable = tf.Variable([1.0, -2.0], dtype=tf.float64)
    gradients = np.array([[0.5, 1.0], [-0.3, 0.2], [0.1, -0.7]])
    rates = [0.1, 0.1, 0.01]
    optimizer = tfbackdoor.training.CoupledSGD(0.1, nesterov=nesterov, l2=0.01)
    for gradient, rate in zip(gradients, rates):
        optimizer.learning_rate = rate
        optimizer.apply([tf.constant(gradient)], [variable])
    expected = _pytorch_sgd(
        np.array([1.0, -2.0]), gradients, rates, 0.9, nesterov, 0.01
    )
    np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-7)


def test_config_round_trip():
    optimizer = tfbackdoor.training.CoupledSGD(
        0.3, momentum=0.5, nesterov=True, l2=0.1
    )
    copy = tfbackdoor.training.CoupledSGD.from_config(optimizer.get_config())
    assert (copy.momentum, copy.nesterov, copy.l2) == (0.5, True, 0.1)
    assert float(copy.learning_rate.numpy()) == pytest.approx(0.3)


@pytest.mark.parametrize("arguments", [{"momentum": 1.0}, {"l2": -1.0}])
def test_arguments_out_of_range_are_refused(arguments):
    with pytest.raises(ValueError, match=f"`{next(iter(arguments))}`"):
        tfbackdoor.training.CoupledSGD(**arguments)


def test_learning_rates_fall_as_the_schedule_says():
    # ANP: divided by 10 after half of the steps and again after 3/4.
    steps = optimizers.decaying(0.2, 100)
    np.testing.assert_allclose(
        [steps(step) for step in (0, 50, 51, 75, 76, 99)],
        [0.2, 0.2, 0.02, 0.02, 0.002, 0.002],
    )
    # A tenth, up to all within a tenth of the steps, then half a cosine over
    # as many as all of them: half is left halfway.
    cosine = optimizers.decaying(0.2, 100, "cosine")
    np.testing.assert_allclose(
        [cosine(step) for step in (0, 10, 60, 110)],
        [0.02, 0.2, 0.1, 0.0],
        rtol=1e-5,
        atol=1e-7,
    )
