"""A fast forward pass for a classifier that itself stays plain Keras."""

import keras
import tensorflow as tf

from tfbackdoor.network import copying
from tfbackdoor.network import devices
from tfbackdoor.network import graph
from tfbackdoor.network import layers
from tfbackdoor.network import precisions
from tfbackdoor.network import structure
from tfbackdoor.network import trainable


class ComputeView:
    """Computes a classifier's outputs on fast kernels, without changing it.

    The view is a clone of the classifier's graph whose batch normalisations
    run fused and whose arithmetic may be `mixed_bfloat16`; it is fed with the
    classifier's own variables, or with tensors in their place. A batch
    normalisation without scale has one in the view, of ones unless another
    is given. A classifier that Keras cannot clone (a subclassed model) is
    called as it is. Weights keep the classifier's precision; the last layer
    computes in float32.

    Args:
        classifier: built `keras.Model`.
        precision: `"float32"`, `"mixed_bfloat16"`, or None for the
            classifier's own (default), but float32 in place of float16, whose
            gradients vanish without loss scaling.
        synchronised: bool, whether batch statistics are those of the whole
            batch over all replicas (default), or each replica's own.
        train_frozen: bool, whether training passes treat layers that are not
            `trainable` as all others: batch normalisations among them use
            batch statistics. Default False. The flags stay as they are.

    Call arguments:
        inputs: images `(batch, height, width, channels)`.
        training: bool.
        values: dict from `id(variable)` of a classifier's variable to the
            tensor that takes its place, and from `id(layer)` of a batch
            normalisation without scale to the scale that it gets.

    Returns:
        The pair `(outputs, updates)`: the classifier's outputs in at least
        float32, and a list of `(variable, value)`, the state (moving
        statistics) that a training pass would write. Nothing is written.

    Attributes:
        trained: list of the classifier's variables that training passes treat
            as trained.
    """

    def __init__(
        self,
        classifier: keras.Model,
        precision: str | None = None,
        *,
        synchronised: bool = True,
        train_frozen: bool = False,
    ):
        devices.check_precision(precision)
        self.classifier = classifier
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        self.model, self._scaled = _clone(
            classifier, precision, synchronized=synchronised and replicas > 1
        )
        self._sources = dict(
            zip(
                map(id, _shared_weights(self.model, self._scaled)),
                classifier.weights,
                strict=True,
            )
        )
        self.trained = trainable.trainable_weights(
            classifier, train_frozen=train_frozen
        )
        self._thaws_calls = train_frozen and self.model is classifier
        if train_frozen and self.model is not classifier:
            trainable.thaw(self.model)

    def _follow_statistics(self):
        """Gives `Normalization` layers what the classifier's compute with.

        That is no variable: Keras makes it when weights are adapted or loaded.
        """
        layers_of_both = zip(
            structure.named_layers(self.model).values(),
            structure.named_layers(self.classifier).values(),
        )
        with tf.init_scope():
            for twin, layer in layers_of_both:
                if isinstance(layer, keras.layers.Normalization):
                    dtype = twin.compute_dtype
                    twin.mean = keras.ops.cast(layer.mean, dtype)
                    twin.variance = keras.ops.cast(layer.variance, dtype)

    @property
    def own_state(self) -> list:
        """The variables that are the view's alone and change: seeds."""
        weights = {id(weight) for weight in self.model.weights}
        return [v for v in self.model.variables if id(v) not in weights]

    def owns(self, variable) -> bool:
        """Whether `variable` is the view's (a dropout seed), not shared."""
        return all(variable is not v for v in self.classifier.variables)

    def __call__(self, inputs, *, training: bool, values: dict | None = None):
        if not (training and self._thaws_calls):
            return self._pass(inputs, training, values or {})
        with trainable.thawed(self.model):
            return self._pass(inputs, training, values or {})

    def _pass(self, inputs, training, values):
        if self.model is not self.classifier:
            self._follow_statistics()

        def value_of(variable):
            source = self._sources.get(id(variable), variable)
            replaced = self._scaled.get(id(variable), source)
            value = values.get(id(replaced), source.value)
            if value.dtype == variable.value.dtype:
                return value
            return keras.ops.cast(value, variable.dtype)

        # `stateless_call` would leave out what calling a model does around its
        # `call`: telling `training` to layers within layers.
        with keras.StatelessScope(
            [(v, value_of(v)) for v in self.model.variables]
        ) as scope:
            outputs = graph.call(self.model, inputs, training=training)
        if not hasattr(outputs, "dtype"):
            raise ValueError(
                "`classifier` must give one tensor of class scores in training "
                f"as at inference. Received: a {type(outputs).__name__} from "
                f"{self.classifier.name}"
            )
        if keras.backend.standardize_dtype(outputs.dtype) in precisions.HALVES:
            outputs = keras.ops.cast(outputs, "float32")
        updates = [
            (
                self._sources.get(id(variable), variable),
                scope.get_current_value(variable),
            )
            for variable in self.model.non_trainable_variables
        ]
        return outputs, updates


def assign(updates) -> None:
    """Writes the updates of a training pass, the mean over all replicas'.

    Seeds are integers and the same on all replicas.
    """
    replica = tf.distribute.get_replica_context()
    for variable, value in updates:
        if replica.num_replicas_in_sync > 1 and value.dtype.is_floating:
            value = replica.all_reduce("mean", value)
        variable.assign(value)


def can_clone(classifier: keras.Model) -> bool:
    """Whether a view of `classifier` is a clone, not the classifier itself."""
    return _clone(classifier, None, synchronized=False)[0] is not classifier


def _clone(classifier, precision, *, synchronized):
    """`classifier` on fast layers, or itself where it cannot be cloned.

    Also, from `id` of a scale that only the clone has, the classifier's layer.
    """
    last = structure.output_layer(classifier)
    without_scale = []

    def clone_layer(layer):
        # The gradient of a bilinear resize is float32, which XLA will not mix.
        stays = layer is last or isinstance(layer, keras.layers.UpSampling2D)
        changes = precisions.of_twin(layer, "float32" if stays else precision)
        lacks_scale = _is_batch_norm(layer) and not layer.scale
        if lacks_scale:
            changes |= {"scale": True, "gamma_initializer": "ones"}
        twin = _fused(layer, changes, synchronized) or copying.twin(
            layer, **changes
        )
        if lacks_scale:
            without_scale.append((twin, layer))
        return twin

    try:
        view = keras.models.clone_model(
            classifier, clone_function=clone_layer, recursive=True
        )
    except (TypeError, ValueError, NotImplementedError):
        return classifier, {}
    scaled = {id(twin.gamma): layer for twin, layer in without_scale}
    same = [w.shape for w in _shared_weights(view, scaled)] == [
        w.shape for w in classifier.weights
    ]
    return (view, scaled) if same else (classifier, {})


def _fused(layer, changes, synchronized):
    """The fast twin of a batch normalisation of Keras', else nothing."""
    if type(layer) is not keras.layers.BatchNormalization:
        return None
    config = layer.get_config() | changes
    config["synchronized"] |= synchronized
    return layers.FusedBatchNormalization.from_config(config)


def _is_batch_norm(layer):
    return isinstance(layer, keras.layers.BatchNormalization)


def _shared_weights(view, scaled):
    return [weight for weight in view.weights if id(weight) not in scaled]
