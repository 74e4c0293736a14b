"""Training a classifier in place, through its compute view."""

import math

import keras
import tensorflow as tf

from tfbackdoor.network import classifiers
from tfbackdoor.network import compute_view
from tfbackdoor.network import devices
from tfbackdoor.training import trainer


@keras.saving.register_keras_serializable("tfbackdoor")
class ClassifierTraining(trainer.Trainer):
    """Trains all weights of a classifier that itself stays plain Keras.

    `compile` and `fit` as with any Keras model; `fit` changes the weights of
    `classifier` in place. The forward pass runs on fused batch normalisation
    and, if asked for, in bfloat16.

    Args:
        classifier: built Keras classifier, logits or softmax out.
        precision: `"float32"`, `"mixed_bfloat16"`, or None for the
            classifier's own (default).
        synchronised: bool, whether batch statistics are those of the whole
            batch over all replicas, so that any number of them learns the
            same (default), or each replica's own, which is faster.
        train_frozen: bool, whether layers that are not `trainable` are trained
            as all others (default), or keep their weights, which in a batch
            normalisation are its moving statistics too. All flags stay as
            they are.

    Input shape:
        `(batch, height, width, channels)`, float32 in [0, 1].

    Output shape:
        `(batch, classes)`, what the classifier gives.

    Raises:
        ValueError: where `train_frozen` is False and nothing is `trainable`.
    """

    _model_arguments: tuple[str, ...] = ("classifier",)

    def __init__(
        self,
        classifier: keras.Model,
        *,
        precision: str | None = None,
        synchronised: bool = True,
        train_frozen: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        classifiers.check_classifier(classifier)
        self.classifier = classifier
        self.precision = precision
        self.synchronised = synchronised
        self.train_frozen = train_frozen
        self.view = compute_view.ComputeView(
            classifier,
            precision,
            synchronised=synchronised,
            train_frozen=train_frozen,
        )
        if not self.trainable_variables:
            raise ValueError(
                "`train_frozen` must be True where no weight of the classifier "
                f"is trainable. Received: train_frozen={train_frozen}"
            )
        self.built = True

    @property
    def trainable_variables(self) -> list:
        """The weights that are trained, see `train_frozen`."""
        return list(self.view.trained)

    trainable_weights = trainable_variables

    def compile(self, optimizer="sgd", loss=None, metrics=None, **settings):
        """As Keras' `compile`, with the settings of `compile_settings`."""
        super().compile(
            optimizer,
            **compile_settings(self.classifier, loss, metrics, **settings),
        )
        if loss is None:
            self._build_before_tracing()

    def _build_before_tracing(self):
        """Makes the variables of optimiser and metrics.

        The training step would make them when it is traced, and Keras would
        then trace it a second time.
        """
        self.optimizer.build(self.trainable_variables)
        if tf.distribute.get_strategy().num_replicas_in_sync == 1:
            scores = tf.zeros((1, classifiers.class_count(self.classifier)))
            self.compute_metrics(None, tf.zeros((1,), tf.int64), scores)
            self.reset_metrics()

    def call(self, inputs, training=False):
        outputs, _ = self.view(inputs, training=training)
        return outputs

    def train_step(self, data):
        images, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
        variables = self.trainable_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([variable.value for variable in variables])
            loss, outputs, updates = self.training_loss(images, labels, weights)
        gradients = tape.gradient(loss, [v.value for v in variables])
        self.optimizer.apply_gradients(zip(gradients, variables))
        compute_view.assign(updates)
        log_losses(self, loss=loss)
        return self.compute_metrics(images, labels, outputs, weights)

    def training_loss(self, images, labels, weights):
        """The loss, the outputs and the state updates of one pass."""
        outputs, updates = self.view(images, training=True)
        loss = self.compute_loss(images, labels, outputs, weights)
        return loss, outputs, updates

    def get_config(self):
        return {
            **super().get_config(),
            **models_to_config(self, self._model_arguments),
            "precision": self.precision,
            "synchronised": self.synchronised,
            "train_frozen": self.train_frozen,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**models_from_config(config, cls._model_arguments))


def models_to_config(owner, names) -> dict:
    """What a config holds of the attributes `names`, which are models."""
    return {
        name: keras.saving.serialize_keras_object(getattr(owner, name))
        for name in names
    }


def models_from_config(config: dict, names) -> dict:
    """`config` with the models of `models_to_config` built again."""
    models = {
        name: keras.saving.deserialize_keras_object(config[name])
        for name in names
    }
    return {**config, **models}


def compile_settings(
    classifier: keras.Model, loss=None, metrics=None, **settings
) -> dict:
    """Settings of Keras' `compile` that suit a classifier and the device.

    The loss is cross-entropy with the classifier's logits or probabilities,
    the metric accuracy, `jit_compile` what is fastest here; what is given
    takes precedence.
    """
    if loss is None:
        from_logits = classifiers.gives_logits(classifier)
        loss = classifiers.cross_entropy(from_logits)
    if metrics is None:
        metrics = ["accuracy"]
    settings.setdefault("jit_compile", devices.default_jit_compile())
    return {"loss": loss, "metrics": metrics, **settings}


def share_of_replica(loss):
    """A mean over this replica's images as its share of the mean over all."""
    return loss / tf.distribute.get_strategy().num_replicas_in_sync


def sum_over_replicas(values):
    """The sum of what the replicas hold, a tensor or a list of tensors."""
    replica = tf.distribute.get_replica_context()
    if replica.num_replicas_in_sync == 1:
        return values
    return replica.all_reduce("sum", values)


def log_losses(model: keras.Model, **losses) -> None:
    """Adds this replica's share of each loss to the metric of its name."""
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    for metric in model.metrics:
        if metric.name in losses:
            metric.update_state(losses[metric.name] * replicas)


class TrainingDivergedError(ValueError):
    """The loss of a training is no longer finite."""


class StopOnNaN(keras.callbacks.Callback):
    """Ends training by `TrainingDivergedError` when the loss is not finite."""

    def on_train_batch_end(self, batch, logs=None):
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            raise TrainingDivergedError(
                "The loss must stay finite; lower the learning rate or check "
                f"that the images lie in [0, 1]. Received: loss={loss} at "
                f"batch {batch}"
            )
