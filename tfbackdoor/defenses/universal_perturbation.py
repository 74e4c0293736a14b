"""The perturbation of all images that misleads a classifier most."""

import keras
import tensorflow as tf

from tfbackdoor.network import classifiers
from tfbackdoor.network import compute_view
from tfbackdoor.training import classifier_training
from tfbackdoor.training import trainer


@keras.saving.register_keras_serializable("tfbackdoor")
class UniversalPerturbation(trainer.Trainer):
    """Searches the one perturbation that makes a classifier worst.

    `max over |d|_2 <= norm of mean L(f(x + d), y) - penalty * |d|_2^2` (Zeng
    et al. 2022, eq. 1), a step for each batch, from zeros. Batch
    normalisation is in inference mode, and no variable of the classifier
    changes. Unlike in the authors' code the labels are the true ones, as in
    the paper, not the classifier's answers, and the norm is kept in each step.

    Args:
        classifier: built Keras classifier, logits or softmax out.
        norm: float > 0, the largest L2 norm of the pattern (10 in the
            authors' code for CIFAR-10, images in [0, 1]).
        penalty: float >= 0, what its squared norm costs (0.001).
        precision: `"float32"`, `"mixed_bfloat16"`, or None for the
            classifier's own. Pattern and losses stay float32.

    Input shape:
        `(batch, height, width, channels)`, float32 in [0, 1]. Perturbed they
        may leave [0, 1], as in the authors' code.

    Output shape:
        `(batch, classes)`, what the classifier gives to perturbed images.

    Attributes:
        pattern: variable `(height, width, channels)`, the perturbation.

    Reference: Zeng et al., Adversarial Unlearning of Backdoors via Implicit
    Hypergradient, ICLR 2022.
    """

    def __init__(
        self,
        classifier: keras.Model,
        *,
        norm: float = 10.0,
        penalty: float = 1e-3,
        precision: str | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        classifiers.check_classifier(classifier)
        if norm <= 0.0:
            raise ValueError(f"`norm` must be > 0. Received: norm={norm}")
        if penalty < 0.0:
            raise ValueError(
                f"`penalty` must be >= 0. Received: penalty={penalty}"
            )
        self.norm = norm
        self.penalty = penalty
        self.precision = precision
        self._view = compute_view.ComputeView(classifier, precision)
        self.pattern = self.add_weight(
            name="pattern",
            shape=classifiers.image_shape(classifier),
            initializer="zeros",
            constraint=keras.constraints.MaxNorm(norm, axis=[0, 1, 2]),
            autocast=False,
        )
        self.built = True

    @property
    def classifier(self) -> keras.Model:
        """The classifier that is misled."""
        return self._view.classifier

    def compile(self, optimizer=None, loss=None, metrics=None, **settings):
        """As Keras' `compile`, with the authors' SGD 10.

        The other settings are those of `training.compile_settings`.
        """
        super().compile(
            optimizer or keras.optimizers.SGD(10.0),
            **classifier_training.compile_settings(
                self.classifier, loss, metrics, **settings
            ),
        )

    def restart(self) -> None:
        """Makes the pattern zeros again; the optimiser keeps its state."""
        self.pattern.assign(keras.ops.zeros_like(self.pattern))

    def call(self, inputs, training=False):
        outputs, _ = self._view(inputs + self.pattern, training=False)
        return outputs

    def train_step(self, data):
        images, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
        pattern = tf.convert_to_tensor(self.pattern.value)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(pattern)
            outputs, _ = self._view(images + pattern, training=False)
            size = tf.reduce_sum(tf.square(pattern))
            loss = classifier_training.share_of_replica(
                self.penalty * size
            ) - self.compute_loss(images, labels, outputs, weights)
        gradient = tape.gradient(loss, pattern)
        self.optimizer.apply_gradients([(gradient, self.pattern)])
        classifier_training.log_losses(self, loss=loss)
        return self.compute_metrics(images, labels, outputs, weights)

    def get_config(self):
        return {
            **super().get_config(),
            **classifier_training.models_to_config(self, ["classifier"]),
            "norm": self.norm,
            "penalty": self.penalty,
            "precision": self.precision,
        }

    @classmethod
    def from_config(cls, config):
        return cls(
            **classifier_training.models_from_config(config, ["classifier"])
        )
