"""Stochastic gradient descent as both papers' code defines it."""

import keras
import tensorflow as tf

SCHEDULES = ("steps", "cosine")


@keras.saving.register_keras_serializable("tfbackdoor")
class CoupledSGD(keras.optimizers.Optimizer):
    """SGD whose weight decay is part of the gradient, as in PyTorch.

    With `d = gradient + l2 * w` and `v = momentum * v + d` a step is
    `w -= learning_rate * v`, or `w -= learning_rate * (d + momentum * v)` with
    Nesterov's momentum. `keras.optimizers.SGD` decouples its weight decay and
    keeps the learning rate inside the velocity, so that it differs from the
    papers' code whenever there is a decay or the learning rate changes.

    Args:
        learning_rate: float or schedule (0.1 at the start in NAD, 0.2 in ANP).
        momentum: float in [0, 1), default 0.9 as in both papers.
        nesterov: bool, default False.
        l2: float >= 0, weight decay of all trained weights (1e-4 in NAD).

    Reference: Li et al. 2021, section 4.1; Wu & Wang 2021, section 5.1.
    """

    def __init__(
        self,
        learning_rate=0.1,
        *,
        momentum: float = 0.9,
        nesterov: bool = False,
        l2: float = 0.0,
        name: str = "coupled_sgd",
        **kwargs,
    ):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        if not 0.0 <= momentum < 1.0:
            raise ValueError(
                f"`momentum` must lie in [0, 1). Received: momentum={momentum}"
            )
        if l2 < 0.0:
            raise ValueError(f"`l2` must be >= 0. Received: l2={l2}")
        self.momentum = momentum
        self.nesterov = nesterov
        self.l2 = l2

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self.velocities = [
            self.add_variable_from_reference(variable, name="velocity")
            for variable in variables
        ]

    def update_step(self, gradient, variable, learning_rate):
        learning_rate = keras.ops.cast(learning_rate, variable.dtype)
        gradient = keras.ops.cast(gradient, variable.dtype)
        velocity = self.velocities[self._get_variable_index(variable)]
        decayed = gradient + self.l2 * variable
        self.assign(velocity, self.momentum * velocity + decayed)
        step = decayed + self.momentum * velocity if self.nesterov else velocity
        self.assign_sub(variable, learning_rate * step)

    def get_config(self):
        return {
            **super().get_config(),
            "momentum": self.momentum,
            "nesterov": self.nesterov,
            "l2": self.l2,
        }


def restart(optimizer: keras.optimizers.Optimizer) -> None:
    """Sets an optimizer back to before its first step; its rate stays."""
    rate = optimizer.learning_rate
    for variable in optimizer.variables:
        if variable is not rate:
            variable.assign(keras.ops.zeros_like(variable))


def decaying(
    rate: float, steps: int, schedule: str = "steps"
) -> keras.optimizers.schedules.LearningRateSchedule:
    """A learning rate that begins at `rate` and falls over `steps` batches.

    Args:
        rate: float > 0.
        steps: int > 0.
        schedule: `"steps"` divides the rate by 10 at 1/2 and 3/4 of the steps,
            as ANP does; `"cosine"` warms up and decays, which is better for
            few epochs.
    """
    if schedule == "cosine":
        return keras.optimizers.schedules.CosineDecay(
            rate / 10, steps, warmup_target=rate, warmup_steps=steps // 10
        )
    return keras.optimizers.schedules.PiecewiseConstantDecay(
        [steps // 2, steps * 3 // 4], [rate, rate / 10, rate / 100]
    )


def spare_sums(
    optimizer: keras.optimizers.Optimizer,
) -> keras.optimizers.Optimizer:
    """The optimiser, which on one replica adds up no gradients.

    Keras does so whatever the number of replicas, and TensorFlow registers the
    gradient of each such sum, which holds the graph of the whole step, until
    the process ends: some 6 MiB a fit.
    """
    add_up = getattr(optimizer, "_all_reduce_sum_gradients", None)
    if add_up is None:
        return optimizer

    def add_up_of_many(gradients_and_variables):
        if tf.distribute.get_strategy().num_replicas_in_sync == 1:
            return list(gradients_and_variables)
        return add_up(gradients_and_variables)

    optimizer._all_reduce_sum_gradients = add_up_of_many
    return optimizer
