"""Reconstructive Neuron Pruning: finds neurons that unlearning leaves out."""

import keras
import tensorflow as tf

from tfbackdoor.defenses import mask_training
from tfbackdoor.training import classifier_training


@keras.saving.register_keras_serializable("tfbackdoor")
class NeuronUnlearning(classifier_training.ClassifierTraining):
    """Trains a classifier to be wrong about clean images.

    `max over w of L(w)` (Li et al. 2023, eq. 2): the loss of `compile` with
    its sign turned. Neurons that clean images need suffer from it, those that
    a backdoor alone needs hardly do. `fit` ruins the classifier: give a copy.
    """

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        return -super().compute_loss(x, y, y_pred, sample_weight, training)


class StopAtAccuracy(keras.callbacks.Callback):
    """Ends a fit after an epoch whose training accuracy is low enough.

    Args:
        accuracy: float in [0, 1], of the epoch's batches as they came.
    """

    def __init__(self, accuracy: float):
        super().__init__()
        if not 0.0 <= accuracy <= 1.0:
            raise ValueError(
                f"`accuracy` must lie in [0, 1]. Received: accuracy={accuracy}"
            )
        self.accuracy = accuracy

    def on_epoch_end(self, epoch, logs=None):
        if logs["accuracy"] <= self.accuracy:
            self.model.stop_training = True


@keras.saving.register_keras_serializable("tfbackdoor")
class NeuronRecovery(mask_training.MaskTraining):
    """Learns the neuron masks by which an unlearned classifier is right again.

    `min over m in [0, 1]^n of alpha * L(m * w, b)` (Li et al. 2023, eq. 3).
    Neurons that stand in the way of clean images get small masks; in the
    classifier before its unlearning they are the ones to prune. As in the
    authors' code the passes use batch statistics, and masks never touch
    offsets. No variable of the classifier changes.

    Args:
        classifier: what `NeuronUnlearning` left.
        alpha: float > 0, weight of the loss (0.2).
        precision: `"float32"`, `"mixed_bfloat16"`, or None for the
            classifier's own. Masks and losses stay float32.
        synchronised: bool, see `ClassifierTraining`.

    Input shape:
        `(batch, height, width, channels)`, float32 in [0, 1].

    Output shape:
        `(batch, classes)`, what the masked classifier gives.

    Raises:
        ValueError: on an argument out of range, or a classifier without
            maskable neurons.

    Reference: Li et al., Reconstructive Neuron Pruning for Backdoor Defense,
    ICML 2023.
    """

    def __init__(
        self, classifier: keras.Model, *, alpha: float = 0.2, **kwargs
    ):
        super().__init__(classifier, **kwargs)
        if alpha <= 0.0:
            raise ValueError(f"`alpha` must be > 0. Received: alpha={alpha}")
        self.alpha = alpha

    def train_step(self, data):
        images, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
        masks = self.trainable_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([mask.value for mask in masks])
            outputs = self.masked_pass(images)
            loss = self.alpha * self.compute_loss(
                images, labels, outputs, weights
            )
        gradients = tape.gradient(loss, [mask.value for mask in masks])
        self.optimizer.apply_gradients(zip(gradients, masks))
        classifier_training.log_losses(self, loss=loss)
        return self.compute_metrics(images, labels, outputs, weights)

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha}
