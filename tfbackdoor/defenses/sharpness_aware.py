"""Fine-tuning by sharpness-aware minimisation."""

import keras
import tensorflow as tf

from tfbackdoor.defenses import result
from tfbackdoor.network import classifiers
from tfbackdoor.network import compute_view
from tfbackdoor.network import copying
from tfbackdoor.training import classifier_training
from tfbackdoor.training import losses
from tfbackdoor.training import optimizers


@keras.saving.register_keras_serializable("tfbackdoor")
class SharpnessAwareTraining(classifier_training.ClassifierTraining):
    """Trains a classifier where its loss is flat.

    A step takes the gradient `g` of the loss at the weights `w`, moves to
    `w + e` with `e = rho * w^2 * g / || |w| * g ||_2` (one norm over all
    weights), takes the gradient there, and applies it at `w` (Zhu et al.
    2023, eq. 5; adaptive sharpness by Kwon et al. 2021). The neurons of a
    backdoor have large weights, which are moved most, so that they shrink.
    Moving statistics follow the first pass alone.

    Args:
        classifier: built Keras classifier, logits or softmax out.
        rho: float >= 0, length of `e` relative to the weights (2 on CIFAR-10,
            8 on GTSRB); 0 is plain training.
        **kwargs: as in `ClassifierTraining`.

    Input shape:
        `(batch, height, width, channels)`, float32 in [0, 1].

    Output shape:
        `(batch, classes)`, what the classifier gives.

    Reference: Zhu et al., Enhancing Fine-Tuning Based Backdoor Defense with
    Sharpness-Aware Minimization, ICCV 2023; Kwon et al., ASAM, ICML 2021.
    """

    def __init__(self, classifier: keras.Model, *, rho: float = 2.0, **kwargs):
        super().__init__(classifier, **kwargs)
        if rho < 0.0:
            raise ValueError(f"`rho` must be >= 0. Received: rho={rho}")
        self.rho = rho

    def train_step(self, data):
        images, labels, sample_weights = keras.utils.unpack_x_y_sample_weight(
            data
        )
        batch = (*self.prepare(images, labels), sample_weights)
        variables = self.trainable_variables
        weights = [tf.convert_to_tensor(v.value) for v in variables]
        loss, gradients, outputs, updates = self._differentiate(batch, weights)
        if self.rho:
            moved = self._ascend(weights, gradients)
            _, gradients, _, _ = self._differentiate(batch, moved)
        self.optimizer.apply_gradients(zip(gradients, variables))
        compute_view.assign(updates)
        classifier_training.log_losses(self, loss=loss)
        return self.compute_metrics(images, labels, outputs, sample_weights)

    def prepare(self, images, labels):
        """What the classifier sees of a batch, and what it shall answer."""
        return images, labels

    def loss_of(self, images, wanted, outputs, sample_weights):
        """The loss of `outputs` where `wanted` is what `prepare` gave."""
        return self.compute_loss(images, wanted, outputs, sample_weights)

    def _differentiate(self, batch, weights):
        """Loss, gradients, outputs and state updates of a pass at `weights`."""
        images, wanted, sample_weights = batch
        values = {
            id(variable): weight
            for variable, weight in zip(self.trainable_variables, weights)
        }
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            outputs, updates = self.view(images, training=True, values=values)
            loss = self.loss_of(images, wanted, outputs, sample_weights)
        gradients = tape.gradient(
            loss, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        return loss, gradients, outputs, updates

    def _ascend(self, weights, gradients):
        """The weights at which the loss is about the largest nearby."""
        gradients = classifier_training.sum_over_replicas(gradients)
        norm = tf.linalg.global_norm(
            [tf.abs(w) * g for w, g in zip(weights, gradients)]
        )
        scale = tf.math.divide_no_nan(self.rho, norm)
        return [
            tf.stop_gradient(w + scale * tf.square(w) * g)
            for w, g in zip(weights, gradients)
        ]

    def get_config(self):
        return {**super().get_config(), "rho": self.rho}


def by_ft_sam(
    classifier,
    clean,
    run,
    *,
    rho: float = 2.0,
    epochs: int = 100,
    batch_size: int = 256,
    learning_rate: float = 0.01,
    weight_decay: float = 5e-4,
    label_smoothing: float = 0.1,
) -> result.DefenseResult:
    """FT-SAM (Zhu et al. 2023); see `SharpnessAwareTraining`.

    The learning rate falls to 0 along a cosine over all epochs; the authors'
    code lets it swing, once every 200 batches.

    Args:
        classifier: see `defend`.
        clean: see `defend`.
        run: the other arguments of `defend`.
        rho: float >= 0 (2 on CIFAR-10, 8 on GTSRB and Tiny ImageNet).
        epochs: int > 0 (100 on CIFAR-10).
        batch_size: int > 0 (256).
        learning_rate: float > 0 at the start (0.01).
        weight_decay: float >= 0 (5e-4).
        label_smoothing: float in [0, 1] (0.1).
    """
    batches = run.batches(clean, batch_size)
    tuned = copying.copy_classifier(classifier)
    training = SharpnessAwareTraining(
        tuned,
        rho=rho,
        precision=run.precision,
        synchronised=run.synchronised,
    )
    training.compile(
        optimizers.CoupledSGD(
            keras.optimizers.schedules.CosineDecay(
                learning_rate, epochs * len(batches)
            ),
            l2=weight_decay,
        ),
        loss=losses.SmoothedCrossEntropy(
            from_logits=classifiers.gives_logits(classifier),
            smoothing=label_smoothing,
        ),
    )
    training.fit(
        batches,
        epochs=epochs,
        callbacks=[classifier_training.StopOnNaN()],
        shuffle=False,
        verbose=run.verbose,
    )
    return result.DefenseResult({"after FT-SAM": tuned})
