"""Training of neuron masks, whatever the loss."""

import keras
import numpy as np

from tfbackdoor.network import classifiers
from tfbackdoor.network import compute_view
from tfbackdoor.network import first_batch
from tfbackdoor.network import masking
from tfbackdoor.network import neurons as neurons_module
from tfbackdoor.network import refusals
from tfbackdoor.training import classifier_training
from tfbackdoor.training import optimizers
from tfbackdoor.training import trainer


class MaskTraining(trainer.Trainer):
    """Holds a mask in [0, 1] for each neuron of a classifier, all of ones.

    Its subclasses' `train_step` moves the masks. No variable of the classifier
    changes.

    Args:
        classifier: built Keras classifier, logits or softmax out.
        precision: `"float32"`, `"mixed_bfloat16"`, or None for the
            classifier's own. Masks and losses stay float32.
        synchronised: bool, see `ClassifierTraining`.

    Raises:
        ValueError: on a classifier without maskable neurons.
    """

    def __init__(
        self,
        classifier: keras.Model,
        *,
        precision: str | None = None,
        synchronised: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        classifiers.check_classifier(classifier)
        self.precision = precision
        self.neurons, self.skipped = neurons_module.find_neurons(classifier)
        self.masks = masking.make_masks(self.neurons)
        self.synchronised = synchronised
        self._view = compute_view.ComputeView(
            classifier,
            precision,
            synchronised=synchronised,
            train_frozen=True,
        )
        self.built = True

    @property
    def classifier(self) -> keras.Model:
        """The classifier whose neurons are masked."""
        return self._view.classifier

    def compile(self, optimizer=None, loss=None, metrics=None, **settings):
        """As Keras' `compile`, with the papers' SGD 0.2, momentum 0.9.

        The other settings are those of `training.compile_settings`.
        """
        super().compile(
            optimizer or optimizers.CoupledSGD(0.2),
            **classifier_training.compile_settings(
                self.classifier, loss, metrics, **settings
            ),
        )

    def fit(self, x=None, y=None, **settings):
        """As Keras' `fit`.

        Raises:
            ValueError: where the images are clearly of another range of
                pixels than the classifier takes, or its weights are no finite
                numbers.
        """
        refusals.check_weights(self.classifier)
        first_batch.check_first_batch(self.classifier, x, y)
        return super().fit(x, y, **settings)

    def call(self, inputs, training=False):
        values = masking.masked_values(self.neurons, self.masks)
        outputs, _ = self._view(inputs, training=training, values=values)
        return outputs

    def masked_pass(self, images, perturbation=None):
        """Scores under the masks, by batch statistics; only seeds move on.

        Args:
            images: `(batch, height, width, channels)`, float32 in [0, 1].
            perturbation: see `masked_values`.
        """
        values = masking.masked_values(self.neurons, self.masks, perturbation)
        outputs, updates = self._view(images, training=True, values=values)
        for variable, value in updates:
            if self._view.owns(variable):
                variable.assign(value)
        return outputs

    def neuron_masks(self) -> dict[str, np.ndarray]:
        """From layer name to its mask, float array `(neurons,)` in [0, 1]."""
        return self._by_layer(mask.neuron_mask for mask in self.masks)

    def _by_layer(self, masks):
        """From layer name to the numbers of its mask, in order of layers."""
        return {
            group.layer: keras.ops.convert_to_numpy(mask)
            for group, mask in zip(self.neurons, masks)
        }

    def get_config(self):
        return {
            **super().get_config(),
            **classifier_training.models_to_config(self, ["classifier"]),
            "precision": self.precision,
            "synchronised": self.synchronised,
        }

    @classmethod
    def from_config(cls, config):
        return cls(
            **classifier_training.models_from_config(config, ["classifier"])
        )
