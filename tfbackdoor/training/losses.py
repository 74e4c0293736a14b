"""Losses that Keras has for one-hot labels only."""

import keras


@keras.saving.register_keras_serializable("tfbackdoor")
class SmoothedCrossEntropy(keras.losses.Loss):
    """Cross-entropy of integer labels, smoothed (Szegedy et al. 2016).

    Args:
        from_logits: bool, whether scores are logits or probabilities.
        smoothing: float in [0, 1], the share of a label's probability that is
            spread over all classes.

    Call arguments:
        y_true: integers `(batch,)`.
        y_pred: scores `(batch, classes)`.
    """

    def __init__(
        self,
        *,
        from_logits: bool,
        smoothing: float = 0.1,
        name: str = "smoothed_cross_entropy",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        if not 0.0 <= smoothing <= 1.0:
            raise ValueError(
                "`smoothing` must lie in [0, 1]. "
                f"Received: smoothing={smoothing}"
            )
        self.from_logits = from_logits
        self.smoothing = smoothing

    def call(self, y_true, y_pred):
        classes = y_pred.shape[-1]
        labels = keras.ops.reshape(keras.ops.cast(y_true, "int32"), (-1,))
        return keras.losses.categorical_crossentropy(
            keras.ops.one_hot(labels, classes, dtype=y_pred.dtype),
            y_pred,
            from_logits=self.from_logits,
            label_smoothing=self.smoothing,
        )

    def get_config(self):
        return {
            **super().get_config(),
            "from_logits": self.from_logits,
            "smoothing": self.smoothing,
        }
