"""Unlearning of the worst perturbation, by the implicit hypergradient."""

import keras
import tensorflow as tf

from tfbackdoor.defenses import universal_perturbation
from tfbackdoor.training import classifier_training

# For weights that the scores do not depend on.
_ZERO = tf.UnconnectedGradients.ZERO


@keras.saving.register_keras_serializable("tfbackdoor")
class ImplicitUnlearning(classifier_training.ClassifierTraining):
    """Trains a classifier not to be misled by its worst perturbation.

    The outer half of `min over w of max over d of L(d, w)`: with `H(d, w) =
    mean L(f(x + d), y) - penalty * |d|^2` and a step of its ascent, `P(d, w) =
    d + step_size * dH/dd`, weights follow the hypergradient `dL/dw + (dP/dw)^T
    v`, `v = (dP/dd)^T v + dL/dd` by fixed-point iteration (Zeng et al. 2022,
    section 3.2; Grazzi et al. 2020), which knows how the perturbation answers
    to the weights. Batch normalisation is in inference mode: moving statistics
    stay, gamma and beta are trained.

    As in the authors' code few images of a batch carry the perturbation in
    `L`, all in `H`. There `H` is of the first batch always; here of the batch
    at hand.

    Args:
        classifier: built Keras classifier, logits or softmax out.
        perturbation: a `UniversalPerturbation` of it, whose `fit` is the inner
            half.
        share: float in (0, 1], share of a batch that carries the perturbation:
            its first images, one at least (0.01).
        step_size: float > 0 (0.1).
        fixed_point_steps: int >= 1, terms of `v` (5).
        **kwargs: as in `ClassifierTraining`.

    Input shape:
        `(batch, height, width, channels)`, float32 in [0, 1], in random order.

    Output shape:
        `(batch, classes)`, what the classifier gives.

    Reference: Zeng et al., Adversarial Unlearning of Backdoors via Implicit
    Hypergradient, ICLR 2022; Grazzi et al., On the Iteration Complexity of
    Hypergradient Computation, ICML 2020.
    """

    def __init__(
        self,
        classifier: keras.Model,
        perturbation: universal_perturbation.UniversalPerturbation,
        *,
        share: float = 0.01,
        step_size: float = 0.1,
        fixed_point_steps: int = 5,
        **kwargs,
    ):
        super().__init__(classifier, **kwargs)
        if perturbation.classifier is not classifier:
            raise ValueError(
                "`perturbation` must be of the classifier. "
                f"Received: one of {perturbation.classifier.name}"
            )
        if not 0.0 < share <= 1.0:
            raise ValueError(
                f"`share` must lie in (0, 1]. Received: share={share}"
            )
        if step_size <= 0.0 or fixed_point_steps < 1:
            raise ValueError(
                "`step_size` must be > 0 and `fixed_point_steps` >= 1. "
                f"Received: step_size={step_size}, "
                f"fixed_point_steps={fixed_point_steps}"
            )
        self.perturbation = perturbation
        self.share = share
        self.step_size = step_size
        self.fixed_point_steps = fixed_point_steps

    def train_step(self, data):
        batch = keras.utils.unpack_x_y_sample_weight(data)
        variables = self.trainable_variables
        pattern, *weights = (
            tf.convert_to_tensor(variable.value)
            for variable in (self.perturbation.pattern, *variables)
        )
        carried = self._carriers(batch[0], pattern.dtype)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([pattern, *weights])
            loss, outputs = self._loss(batch, carried * pattern, weights)
        slope, *direct = tape.gradient(
            loss, [pattern, *weights], unconnected_gradients=_ZERO
        )
        indirect = self._implicit(batch, pattern, weights, slope)
        self.optimizer.apply_gradients(
            (one + other, variable)
            for one, other, variable in zip(direct, indirect, variables)
        )
        classifier_training.log_losses(self, loss=loss)
        images, labels, sample_weights = batch
        return self.compute_metrics(images, labels, outputs, sample_weights)

    def _loss(self, batch, added, weights):
        """This replica's share of the loss, and the outputs, at `weights`."""
        images, labels, sample_weights = batch
        values = {
            id(variable): weight
            for variable, weight in zip(self.trainable_variables, weights)
        }
        outputs, _ = self.view(images + added, training=False, values=values)
        loss = self.compute_loss(images, labels, outputs, sample_weights)
        return loss, outputs

    def _carriers(self, images, dtype):
        """1 for each image that carries the perturbation, 0 for others."""
        replica = tf.distribute.get_replica_context()
        here = tf.shape(images)[0]
        total = tf.cast(here * replica.num_replicas_in_sync, tf.float32)
        count = tf.maximum(1, tf.cast(tf.round(self.share * total), tf.int32))
        first = tf.cast(replica.replica_id_in_sync_group, tf.int32) * here
        carried = tf.cast(first + tf.range(here) < count, dtype)
        return tf.reshape(carried, (-1, 1, 1, 1))

    def _implicit(self, batch, pattern, weights, slope):
        """`(dP/dw)^T v` of the hypergradient, for each weight.

        The penalty, which does not know the weights, is derived by hand.
        """
        with tf.GradientTape(
            persistent=True, watch_accessed_variables=False
        ) as outer:
            outer.watch([pattern, *weights])
            with tf.GradientTape(watch_accessed_variables=False) as inner:
                inner.watch(pattern)
                loss, _ = self._loss(batch, pattern, weights)
            ascent = inner.gradient(loss, pattern)
        slope = classifier_training.sum_over_replicas(slope)
        shrunk = 1.0 - 2.0 * self.step_size * self.perturbation.penalty
        v = slope
        for _ in range(self.fixed_point_steps - 1):
            curved = outer.gradient(ascent, pattern, output_gradients=v)
            v = (
                slope
                + shrunk * v
                + self.step_size * classifier_training.sum_over_replicas(curved)
            )
        return outer.gradient(
            ascent,
            weights,
            output_gradients=self.step_size * v,
            unconnected_gradients=_ZERO,
        )

    def get_config(self):
        settings = self.perturbation.get_config()
        del settings["classifier"]
        return {
            **super().get_config(),
            "perturbation": settings,
            "share": self.share,
            "step_size": self.step_size,
            "fixed_point_steps": self.fixed_point_steps,
        }

    @classmethod
    def from_config(cls, config):
        config = classifier_training.models_from_config(config, ["classifier"])
        config["perturbation"] = universal_perturbation.UniversalPerturbation(
            config["classifier"], **config["perturbation"]
        )
        return cls(**config)
