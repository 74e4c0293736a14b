"""Small masks that differ from image to image, for dynamic triggers."""

import keras
import tensorflow as tf

from tfbackdoor.network import compute_view
from tfbackdoor.network import devices
from tfbackdoor.training import classifier_training
from tfbackdoor.training import trainer

_RATE = 0.01
_SMALL = 1e-7


@keras.saving.register_keras_serializable("tfbackdoor")
class MaskTraining(trainer.Trainer):
    """Trains a mask generator to draw small masks that differ.

    `L = size_weight * max(0, mean(m(x)) - density) + |x - x'| / |m(x) - m(x')|`
    with another image x' of the batch and root-mean-square distances, those of
    images in standard deviations of each channel (Nguyen & Tran 2020, section
    4.4; the authors' code normalises its images). The mean is over the pixels
    of an image: the authors' code takes it last, so that a mask of 0 and 1
    has hardly anything free of charge and some images get one of 7 pixels.
    `fit` changes the generator in place; labels are not used.

    Args:
        generator: Keras model from images to masks, see `mask_generator`.
        density: float in [0, 1], share of the image that masks may cover free
            of charge (0.032 in the paper).
        size_weight: float >= 0 (100 in the authors' code).
        precision: of the forward passes, see `ComputeView`.

    Input shape:
        `(batch, height, width, channels)`, float32 in [0, 1].

    Output shape:
        `(batch, height, width, 1)`, masks in [0, 1].
    """

    def __init__(
        self,
        generator: keras.Model,
        *,
        density: float = 0.032,
        size_weight: float = 100.0,
        precision: str | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not 0.0 <= density <= 1.0:
            raise ValueError(
                f"`density` must lie in [0, 1]. Received: density={density}"
            )
        self.generator = generator
        self.density = density
        self.size_weight = size_weight
        self.precision = precision
        self._view = compute_view.ComputeView(generator, precision)
        self.built = True

    def compile(self, optimizer=None, **settings):
        """As Keras' `compile`, with Adam 0.01, betas 0.5 and 0.9.

        `generator_adam(mask_schedule(steps))` lets statistics settle.
        """
        settings.setdefault("jit_compile", devices.default_jit_compile())
        super().compile(optimizer or generator_adam(), **settings)

    def call(self, inputs, training=False):
        return self._view(inputs, training=training)[0]

    def train_step(self, data):
        images, *_ = data
        variables = self.generator.trainable_weights
        # The mean of a channel has no part in distances.
        standardised = images / (tf.math.reduce_std(images, [0, 1, 2]) + _SMALL)
        with tf.GradientTape() as tape:
            masks, updates = self._view(images, training=True)
            covered = tf.reduce_mean(masks, axis=[1, 2, 3])
            excess = tf.reduce_mean(tf.nn.relu(covered - self.density))
            ratios = diversity_losses(
                (standardised, next_in_batch(standardised)),
                (masks, next_in_batch(masks)),
            )
            loss = classifier_training.share_of_replica(
                self.size_weight * excess + tf.reduce_mean(ratios)
            )
        gradients = tape.gradient(loss, variables)
        self.optimizer.apply_gradients(zip(gradients, variables))
        compute_view.assign(updates)
        classifier_training.log_losses(self, loss=loss)
        return self.get_metrics_result()

    def get_config(self):
        return {
            **super().get_config(),
            **classifier_training.models_to_config(self, ["generator"]),
            "density": self.density,
            "size_weight": self.size_weight,
            "precision": self.precision,
        }

    @classmethod
    def from_config(cls, config):
        return cls(
            **classifier_training.models_from_config(config, ["generator"])
        )


def next_in_batch(images):
    """For each image of a batch another."""
    return tf.roll(images, -1, axis=0)


def diversity_losses(sources, made):
    """How little pairs differ for how much their sources do, `(pairs,)`."""
    return _distances(*sources) / (_distances(*made) + _SMALL)


def mask_schedule(
    steps: int,
) -> keras.optimizers.schedules.LearningRateSchedule:
    """0.01, a tenth of it after 40 % of the steps and again after 80 %.

    As after 10 and 20 of 25 epochs in the authors' code. Without it the moving
    statistics lag behind, and some masks are empty when they are used.
    """
    return keras.optimizers.schedules.PiecewiseConstantDecay(
        [round(0.4 * steps), round(0.8 * steps)],
        [_RATE, _RATE / 10, _RATE / 100],
    )


def generator_adam(learning_rate=_RATE):
    """The optimiser of both generators in the authors' code."""
    return keras.optimizers.Adam(learning_rate, beta_1=0.5, beta_2=0.9)


def _distances(some, others):
    squares = tf.reduce_mean((some - others) ** 2, axis=[1, 2, 3])
    # The root has no gradient at 0.
    return tf.sqrt(tf.maximum(squares, _SMALL**2))
