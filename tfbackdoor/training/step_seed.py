"""Random draws within a training step that a resumed fit repeats."""

import keras
import tensorflow as tf


def step_seed(
    optimizer: keras.optimizers.Optimizer, seed: int, purpose: int = 0
) -> tf.Tensor:
    """A seed of two integers for each step, replica and purpose.

    It follows from the step alone, so that an interrupted fit goes on with the
    same draws.

    Args:
        optimizer: it counts the steps.
        seed: int.
        purpose: int, tells the draws of one step apart.
    """
    replica = tf.distribute.get_replica_context()
    drawn = tf.stack([seed, purpose])
    for number in (optimizer.iterations, replica.replica_id_in_sync_group):
        drawn = tf.random.fold_in(drawn, tf.cast(number, tf.int32))
    return drawn
