"""A fast forward pass for a classifier that itself stays plain Keras."""

import keras
import tensorflow as tf

from tfbackdoor import devices
from tfbackdoor import layers
from tfbackdoor import structure


class ComputeView:
    """Computes a classifier's outputs on fast kernels, without changing it.

    The view is a clone of the classifier's graph whose batch normalisations
    run fused and whose arithmetic may be `mixed_bfloat16`; it is fed with the
    classifier's own variables, or with tensors in their place. A classifier
    that Keras cannot clone (a subclassed model) is called as it is. Weights
    and the last layer keep the classifier's precision.

    Args:
        classifier: built `keras.Model`.
        precision: `"float32"`, `"mixed_bfloat16"`, or None for the
            classifier's own (default).

    Call arguments:
        inputs: images `(batch, height, width, channels)`.
        training: bool.
        values: dict from `id(variable)` of a classifier's variable to the
            tensor that takes its place.

    Returns:
        The pair `(outputs, updates)`: the classifier's outputs in at least
        float32, and a list of `(variable, value)`, the state (moving
        statistics) that a training pass would write. Nothing is written.
    """

    def __init__(self, classifier: keras.Model, precision: str | None = None):
        devices.check_precision(precision)
        self.classifier = classifier
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        self.model = _clone(classifier, precision, synchronized=replicas > 1)
        self._sources = dict(
            zip(map(id, self.model.weights), classifier.weights, strict=True)
        )

    def use_batch_statistics(self) -> None:
        """Makes training passes use batch statistics in frozen layers too."""
        if self.model is not self.classifier:
            for layer in structure.named_layers(self.model).values():
                layer.trainable = True

    def owns(self, variable) -> bool:
        """Whether `variable` is the view's (a dropout seed), not shared."""
        return all(variable is not v for v in self.classifier.variables)

    def __call__(self, inputs, *, training: bool, values: dict | None = None):
        values = values or {}

        def value_of(variable):
            source = self._sources.get(id(variable), variable)
            return values.get(id(source), source.value)

        state = self.model.non_trainable_variables
        outputs, new_state = self.model.stateless_call(
            [value_of(variable) for variable in self.model.trainable_variables],
            [value_of(variable) for variable in state],
            inputs,
            training=training,
        )
        if keras.backend.standardize_dtype(outputs.dtype) == "bfloat16":
            outputs = keras.ops.cast(outputs, "float32")
        updates = [
            (self._sources.get(id(variable), variable), value)
            for variable, value in zip(state, new_state)
        ]
        return outputs, updates


def _clone(classifier, precision, *, synchronized):
    """`classifier` on fast layers, or itself where it cannot be cloned."""
    last = classifier.layers[-1]

    def clone_layer(layer):
        kind = type(layer)
        config = layer.get_config()
        if precision and layer is not last and layer.dtype == "float32":
            config["dtype"] = precision
        if kind is keras.layers.BatchNormalization:
            kind = layers.FusedBatchNormalization
            config["synchronized"] |= synchronized
        return kind.from_config(config)

    try:
        view = keras.models.clone_model(
            classifier, clone_function=clone_layer, recursive=True
        )
    except (TypeError, ValueError, NotImplementedError):
        return classifier
    same = [w.shape for w in view.weights] == [
        w.shape for w in classifier.weights
    ]
    return view if same else classifier
