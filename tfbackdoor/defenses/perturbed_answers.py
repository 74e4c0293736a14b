"""What a classifier answers while its neurons are perturbed against it."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor.data import class_numbers
from tfbackdoor.defenses import adversarial_neuron_pruning
from tfbackdoor.network import classifiers
from tfbackdoor.training import classifier_training
from tfbackdoor.training import optimizers


@dataclasses.dataclass(frozen=True, eq=False)
class Answers:
    """What was answered under perturbation.

    Args:
        loss: float, the mean over the batches, which may be no number.
        mistaken: `(classes,)` integers, how many wrong answers are of each
            class.
    """

    loss: float
    mistaken: np.ndarray


class PerturbedAnswers(adversarial_neuron_pruning.AdversarialNeuronPruning):
    """ANP's perturbation alone: masks stay as they are.

    Each batch has a perturbation of its own, one after the other.

    Args:
        classifier: built Keras classifier; it is not changed.
        seed: int, start of the perturbations.
        precision: of the forward passes, see `ComputeView`.
    """

    def __init__(
        self,
        classifier: keras.Model,
        *,
        seed: int = 0,
        precision: str | None = None,
    ):
        super().__init__(classifier, seed=seed, precision=precision)
        self._mistaken = self.add_weight(
            name="mistaken",
            shape=(classifiers.class_count(classifier),),
            dtype="int64",
            initializer="zeros",
            trainable=False,
            aggregation="only_first_replica",
        )
        self.compile(optimizers.CoupledSGD(0.0))

    def answer(self, batches: tf.data.Dataset, epsilon: float) -> Answers:
        """What is answered under a perturbation of at most `epsilon`.

        Args:
            batches: finite data set of clean `(images, labels)`.
            epsilon: float > 0.
        """
        self.epsilon = epsilon
        self._mistaken.assign(np.zeros(self._mistaken.shape, "int64"))
        history = self.fit(batches, verbose=0).history
        return Answers(
            history["perturbed_loss"][-1],
            keras.ops.convert_to_numpy(self._mistaken),
        )

    def train_step(self, data):
        batch = keras.utils.unpack_x_y_sample_weight(data)
        perturbation = self.ascend(batch, self.initial_perturbation())
        loss, _, outputs = self._differentiate(batch, perturbation, [])
        self.optimizer.iterations.assign_add(1)  # Seeds the perturbation.
        answers = tf.one_hot(
            tf.argmax(outputs, axis=-1), outputs.shape[-1], dtype=tf.int64
        )
        right = tf.one_hot(
            class_numbers.of_labels(batch[1]), outputs.shape[-1], dtype=tf.int64
        )
        mistaken = tf.reduce_sum(answers * (1 - right), axis=0)
        self._mistaken.assign_add(
            classifier_training.sum_over_replicas(mistaken)
        )
        classifier_training.log_losses(self, perturbed_loss=loss)
        return self.compute_metrics(batch[0], batch[1], outputs, batch[2])
