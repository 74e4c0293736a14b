"""A fast forward pass for a classifier that itself stays plain Keras."""

import keras
import tensorflow as tf

from tfbackdoor.network import devices
from tfbackdoor.network import layers
from tfbackdoor.network import structure

_HALF = ("bfloat16", "float16")


class ComputeView:
    """Computes a classifier's outputs on fast kernels, without changing it.

    The view is a clone of the classifier's graph whose batch normalisations
    run fused and whose arithmetic may be `mixed_bfloat16`; it is fed with the
    classifier's own variables, or with tensors in their place. A batch
    normalisation without scale has one in the view, of ones unless another
    is given. A classifier that Keras cannot clone (a subclassed model) is
    called as it is. Weights and the last layer keep the classifier's
    precision.

    Args:
        classifier: built `keras.Model`.
        precision: `"float32"`, `"mixed_bfloat16"`, or None for the
            classifier's own (default).
        synchronised: bool, whether batch statistics are those of the whole
            batch over all replicas (default), or each replica's own.

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
    """

    def __init__(
        self,
        classifier: keras.Model,
        precision: str | None = None,
        *,
        synchronised: bool = True,
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
        if self.model is not classifier:
            self._copy_statistics()

    def _copy_statistics(self):
        """Gives `Normalization` layers their statistics, which they keep."""
        for layer in structure.named_layers(self.model).values():
            if isinstance(layer, keras.layers.Normalization):
                for weight in layer.weights:
                    weight.assign(self._sources[id(weight)].value)
        structure.refresh_statistics(self.model)

    def use_batch_statistics(self) -> None:
        """Makes training passes use batch statistics in frozen layers too."""
        if self.model is not self.classifier:
            for layer in structure.named_layers(self.model).values():
                layer.trainable = True

    @property
    def own_state(self) -> list:
        """The variables that are the view's alone and change: seeds."""
        weights = {id(weight) for weight in self.model.weights}
        return [v for v in self.model.variables if id(v) not in weights]

    def owns(self, variable) -> bool:
        """Whether `variable` is the view's (a dropout seed), not shared."""
        return all(variable is not v for v in self.classifier.variables)

    def __call__(self, inputs, *, training: bool, values: dict | None = None):
        values = values or {}

        def value_of(variable):
            source = self._sources.get(id(variable), variable)
            replaced = self._scaled.get(id(variable), source)
            return values.get(id(replaced), source.value)

        state = self.model.non_trainable_variables
        outputs, new_state = self.model.stateless_call(
            [value_of(variable) for variable in self.model.trainable_variables],
            [value_of(variable) for variable in state],
            inputs,
            training=training,
        )
        if keras.backend.standardize_dtype(outputs.dtype) in _HALF:
            outputs = keras.ops.cast(outputs, "float32")
        updates = [
            (self._sources.get(id(variable), variable), value)
            for variable, value in zip(state, new_state)
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
        kind = type(layer)
        config = layer.get_config()
        # Operations such as `x + 1` have no arithmetic of their own.
        dtype = getattr(layer, "dtype", None)
        if precision and layer is not last and dtype == "float32":
            config["dtype"] = precision
        elif getattr(layer, "compute_dtype", None) == "float16":
            # Small gradients would become 0, and no loss is scaled here.
            config["dtype"] = "float32"
        if kind is keras.layers.BatchNormalization:
            kind = layers.FusedBatchNormalization
            config["synchronized"] |= synchronized
        lacks_scale = _is_batch_norm(layer) and not layer.scale
        if lacks_scale:
            config |= {"scale": True, "gamma_initializer": "ones"}
        twin = kind.from_config(config)
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


def _is_batch_norm(layer):
    return isinstance(layer, keras.layers.BatchNormalization)


def _shared_weights(view, scaled):
    return [weight for weight in view.weights if id(weight) not in scaled]
