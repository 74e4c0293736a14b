"""Moving statistics of batch normalisations, taken anew on clean images."""

import keras
import tensorflow as tf

from tfbackdoor.network import compute_view
from tfbackdoor.network import structure


class BatchStatistics:
    """Gives batch normalisations the statistics of some images.

    A weight that was not trained with its normalisations, such as a point
    between two networks, needs statistics of its own (Garipov et al. 2018,
    section 4). They become the mean over batches of what each batch has.
    Compiled once for any weights.

    Args:
        classifier: built Keras classifier.
        precision: of the forward passes, see `ComputeView`.
        train_frozen: bool, whether normalisations that are not `trainable`
            get new statistics too (default).
    """

    def __init__(
        self,
        classifier: keras.Model,
        precision: str | None = None,
        *,
        train_frozen: bool = True,
    ):
        self._view = compute_view.ComputeView(
            classifier, precision, train_frozen=train_frozen
        )
        self._moving = [
            variable
            for layer in structure.named_layers(classifier).values()
            if isinstance(layer, keras.layers.BatchNormalization)
            and (train_frozen or layer.trainable)
            for variable in (layer.moving_mean, layer.moving_variance)
        ]
        self._compiled = tf.function(
            self._of_batch, reduce_retracing=True, autograph=False
        )

    def refresh(self, batches: tf.data.Dataset) -> None:
        """Sets the classifier's moving statistics to those of the images.

        Args:
            batches: batched data set of `(images, ...)`, read once.
        """
        if not self._moving:
            return
        count, sums = 0, [0.0] * len(self._moving)
        for images, *_ in batches:
            size = int(images.shape[0])
            count += size
            sums = [
                total + size * value
                for total, value in zip(sums, self._compiled(images))
            ]
        for variable, total in zip(self._moving, sums):
            variable.assign(total / count)

    def _of_batch(self, images):
        """The statistics that passes of these images alone would end at."""
        # A pass maps a statistic s to a * s + b, with a made of momenta alone.
        from_zero, from_one = (
            self._after_pass(images, make) for make in (tf.zeros, tf.ones)
        )
        return [b / (1.0 - (ab - b)) for b, ab in zip(from_zero, from_one)]

    def _after_pass(self, images, make):
        values = {id(v): make(v.shape, v.dtype) for v in self._moving}
        _, updates = self._view(images, training=True, values=values)
        after = {id(variable): value for variable, value in updates}
        return [after[id(variable)] for variable in self._moving]
