"""Settings of a training step that may change after it is compiled."""

import tensorflow as tf


class LiveSetting:
    """A number that compiled steps read from a variable, not a constant.

    The variable is none of a model's weights: it is no part of what is learnt.
    """

    def __init__(self):
        self.number = 0.0
        # float64, so that models of any precision get the number as it is.
        self._variable = tf.Variable(0.0, trainable=False, dtype="float64")

    def set(self, number: float) -> None:
        """Sets the number; outside of a compiled step."""
        self.number = number
        self._variable.assign(number)

    def as_tensor(self, dtype) -> tf.Tensor:
        """The number at the time when a step runs."""
        return tf.cast(self._variable, dtype)
