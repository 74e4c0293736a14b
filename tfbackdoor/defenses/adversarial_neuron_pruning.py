"""Adversarial Neuron Pruning: finds the neurons that carry a backdoor."""

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor.defenses import mask_training
from tfbackdoor.network import masking
from tfbackdoor.training import classifier_training as training_module
from tfbackdoor.training import live_setting


@keras.saving.register_keras_serializable("tfbackdoor")
class AdversarialNeuronPruning(mask_training.MaskTraining):
    """Learns a mask in [0, 1] for each neuron of a suspicious classifier.

    `min over m of alpha * L(m * w, b) + (1 - alpha) * max over |delta|, |xi|
    <= epsilon of L((m + delta) * w, (1 + xi) * b)` (Wu & Wang 2021, eq. 6).
    Neurons that the worst perturbation finds easiest to turn against the
    clean images get small masks; they are the ones to prune.

    As in the authors' code every pass uses batch statistics, and the
    perturbation starts uniform in [-epsilon, epsilon] for each batch and is
    not projected back. Unlike there, gradients are taken for the masks and
    the perturbation only. No variable of the classifier changes.

    Args:
        classifier: built Keras classifier, logits or softmax out.
        epsilon: float >= 0, largest relative change of a neuron's weight and
            bias (0.4 in the paper; small networks need less).
        alpha: float in [0, 1], weight of the unperturbed loss (0.2).
        steps: int >= 1, sign-gradient steps of size `epsilon / steps` (1).
        average_after: int >= 0, after so many batches `neuron_masks` is the
            mean over all further ones, whose order depends less on the last
            few batches; None for the last masks, as in the paper.
        seed: int, start of the perturbations.
        precision: `"float32"`, `"mixed_bfloat16"`, or None for the
            classifier's own. Masks, perturbations and losses stay float32.
        synchronised: bool, whether batch statistics are those of the whole
            batch over all replicas, so that any number of them learns the
            same (default), or each replica's own, which is faster.

    Input shape:
        `(batch, height, width, channels)`, float32 in [0, 1].

    Output shape:
        `(batch, classes)`, what the masked classifier gives.

    Raises:
        ValueError: on an argument out of range, or a classifier without
            maskable neurons.

    Example:
        anp = AdversarialNeuronPruning(classifier)
        anp.compile()
        anp.fit(batches, steps_per_epoch=100, epochs=20)
        prune_neurons(classifier, anp.neuron_masks(), threshold=0.2)

    Reference: Wu & Wang, Adversarial Neuron Pruning Purifies Backdoored Deep
    Models, NeurIPS 2021.
    """

    def __init__(
        self,
        classifier: keras.Model,
        *,
        epsilon: float = 0.4,
        alpha: float = 0.2,
        steps: int = 1,
        average_after: int | None = None,
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(classifier, **kwargs)
        self._add_mean_masks(average_after)
        self._epsilon, self._alpha = (
            live_setting.LiveSetting() for _ in range(2)
        )
        self.epsilon = epsilon
        self.alpha = alpha
        self.steps = steps
        self.seed = seed
        self._loss_means = {
            name: keras.metrics.Mean(name=name)
            for name in ("clean_loss", "perturbed_loss")
        }

    def _add_mean_masks(self, average_after):
        if average_after is not None and average_after < 0:
            raise ValueError(
                "`average_after` must be >= 0 or None. "
                f"Received: average_after={average_after}"
            )
        self._average_after = average_after
        averaged = [] if average_after is None else self.trainable_variables
        self.mean_masks = [
            self.add_weight(
                name=f"mean_mask_{position}",
                shape=mask.shape,
                dtype=mask.dtype,
                initializer="ones",
                trainable=False,
                aggregation="mean",
            )
            for position, mask in enumerate(averaged)
        ]

    @property
    def average_after(self) -> int | None:
        """As given."""
        return self._average_after

    @property
    def epsilon(self) -> float:
        """As given; compiled steps follow what is set later."""
        return self._epsilon.number

    @epsilon.setter
    def epsilon(self, epsilon):
        if epsilon < 0.0:
            raise ValueError(
                f"`epsilon` must be >= 0. Received: epsilon={epsilon}"
            )
        self._epsilon.set(epsilon)

    @property
    def alpha(self) -> float:
        """As given; compiled steps follow what is set later."""
        return self._alpha.number

    @alpha.setter
    def alpha(self, alpha):
        if not 0.0 <= alpha <= 1.0:
            raise ValueError(
                f"`alpha` must lie in [0, 1]. Received: alpha={alpha}"
            )
        self._alpha.set(alpha)

    @property
    def steps(self) -> int:
        """As given; setting it has the next step compiled anew."""
        return self._steps

    @steps.setter
    def steps(self, steps):
        if steps < 1:
            raise ValueError(f"`steps` must be >= 1. Received: steps={steps}")
        self._steps = steps
        self.train_function = None

    @property
    def seed(self) -> int:
        """As given; setting it has the next step compiled anew."""
        return self._seed

    @seed.setter
    def seed(self, seed):
        self._seed = seed
        self.train_function = None

    def train_step(self, data):
        images, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
        batch = (images, labels, weights)
        masks = self.trainable_variables
        perturbation = self.ascend(batch, self.initial_perturbation())
        perturbed_loss, perturbed_gradients, _ = self._differentiate(
            batch, perturbation, masks
        )
        clean_loss, clean_gradients, outputs = self._differentiate(
            batch, None, masks
        )
        self.optimizer.apply_gradients(
            (self._trade_off(clean, perturbed), mask)
            for clean, perturbed, mask in zip(
                clean_gradients, perturbed_gradients, masks
            )
        )
        self._follow_mean()
        training_module.log_losses(
            self,
            loss=self._trade_off(clean_loss, perturbed_loss),
            clean_loss=clean_loss,
            perturbed_loss=perturbed_loss,
        )
        return self.compute_metrics(images, labels, outputs, weights)

    def _follow_mean(self):
        """Takes the masks of this step into their mean, or in its place."""
        if self.average_after is None:
            return
        averaged = self.optimizer.iterations - self.average_after
        for mean, mask in zip(self.mean_masks, self.trainable_variables):
            share = 1.0 / tf.cast(tf.maximum(averaged, 1), mean.dtype)
            mean.assign(mean + share * (mask - mean))

    def neuron_masks(self) -> dict[str, np.ndarray]:
        if self.average_after is None:
            return super().neuron_masks()
        return self._by_layer(self.mean_masks)

    def initial_perturbation(self):
        """A uniform draw in [-epsilon, epsilon], the same on all replicas."""
        iteration = tf.cast(self.optimizer.iterations, "int32")
        dtype = self.masks[0].dtype
        epsilon = self._epsilon.as_tensor(dtype)
        return tf.random.stateless_uniform(
            [sum(masking.perturbation_sizes(self.neurons))],
            seed=tf.stack([self.seed, iteration]),
            minval=-epsilon,
            maxval=epsilon,
            dtype=dtype,
        )

    def ascend(self, batch, perturbation):
        """The perturbation after `steps` sign-gradient steps up the loss."""
        size = self._epsilon.as_tensor(perturbation.dtype) / self.steps
        for _ in range(self.steps):
            _, (gradient,), _ = self._differentiate(
                batch, perturbation, [perturbation]
            )
            gradient = training_module.sum_over_replicas(gradient)
            perturbation = tf.stop_gradient(
                perturbation + size * tf.sign(gradient)
            )
        return perturbation

    def get_config(self):
        return {
            **super().get_config(),
            "epsilon": self.epsilon,
            "alpha": self.alpha,
            "steps": self.steps,
            "average_after": self.average_after,
            "seed": self.seed,
        }

    def _differentiate(self, batch, perturbation, sources):
        """Loss, its gradients for `sources` alone, and the outputs."""
        images, labels, weights = batch
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            for source in sources:
                tape.watch(getattr(source, "value", source))
            outputs = self.masked_pass(images, perturbation)
            loss = self.compute_loss(images, labels, outputs, weights)
        return loss, tape.gradient(loss, sources), outputs

    def _trade_off(self, clean, perturbed):
        alpha = self._alpha.as_tensor(clean.dtype)
        return alpha * clean + (1.0 - alpha) * perturbed
