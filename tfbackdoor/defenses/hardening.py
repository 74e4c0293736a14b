"""Hardening: a classifier learns to ignore what triggers are made of."""

import keras
import tensorflow as tf

from tfbackdoor.data import perturbation
from tfbackdoor.defenses import sharpness_aware
from tfbackdoor.network import classifiers
from tfbackdoor.network import compute_view
from tfbackdoor.training import step_seed


@keras.saving.register_keras_serializable("tfbackdoor")
class Hardening(sharpness_aware.SharpnessAwareTraining):
    """Trains a classifier to ignore perturbations, taught by itself before.

    The student sees images of which two thirds carry random perturbations of
    the kinds that triggers are made of (`perturb_randomly`). It shall answer
    `(1 - label_share) * p_teacher + label_share * labels`, where the teacher
    sees the images untouched and the labels are smoothed: clean images cannot
    teach a backdoor, and the teacher's answers say more of them than their
    labels. The step is sharpness-aware, see `SharpnessAwareTraining`. It needs
    no trigger and no target class.

    Args:
        classifier: built Keras classifier, the student.
        teacher: classifier of the same classes, such as a copy of the student
            before; it is not changed.
        rho: see `SharpnessAwareTraining`.
        label_share: float in [0, 1], what the labels say in the answers.
        smoothing: float in [0, 1], of the labels.
        seed: int, of the perturbations.
        **kwargs: as in `ClassifierTraining`.

    Input shape:
        `(batch, height, width, channels)`, float32 in [0, 1].

    Output shape:
        `(batch, classes)`, what the classifier gives.

    Reference: Zhu et al., ICCV 2023, for the step; Hinton et al., Distilling
    the Knowledge in a Neural Network, 2015, for the answers.
    """

    _model_arguments = ("classifier", "teacher")

    def __init__(
        self,
        classifier: keras.Model,
        teacher: keras.Model,
        *,
        label_share: float = 0.2,
        smoothing: float = 0.1,
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(classifier, **kwargs)
        for name, share in (
            ("label_share", label_share),
            ("smoothing", smoothing),
        ):
            if not 0.0 <= share <= 1.0:
                raise ValueError(
                    f"`{name}` must lie in [0, 1]. Received: {name}={share}"
                )
        self.label_share = label_share
        self.smoothing = smoothing
        self.seed = seed
        self._classes = classifiers.class_count(classifier)
        self._teacher_view = compute_view.ComputeView(teacher, self.precision)
        self._teacher_gives_logits = classifiers.gives_logits(teacher)
        self._cross_entropy = keras.losses.CategoricalCrossentropy(
            from_logits=classifiers.gives_logits(classifier)
        )

    @property
    def teacher(self) -> keras.Model:
        """The classifier whose answers are kept."""
        return self._teacher_view.classifier

    def prepare(self, images, labels):
        perturbed = perturbation.perturb_randomly(
            images, step_seed.step_seed(self.optimizer, self.seed)
        )
        return perturbed, self._wanted(images, labels)

    def loss_of(self, images, wanted, outputs, sample_weights):
        return self._cross_entropy(
            wanted, outputs, sample_weight=sample_weights
        )

    def _wanted(self, images, labels):
        """Probabilities `(batch, classes)` of the untouched images."""
        labels = tf.reshape(tf.cast(labels, tf.int32), [-1])
        smoothed = (1.0 - self.smoothing) * tf.one_hot(labels, self._classes)
        smoothed += self.smoothing / self._classes
        answers, _ = self._teacher_view(images, training=False)
        if self._teacher_gives_logits:
            answers = tf.nn.softmax(answers)
        return answers + self.label_share * (smoothed - answers)

    def get_config(self):
        return {
            **super().get_config(),
            "label_share": self.label_share,
            "smoothing": self.smoothing,
            "seed": self.seed,
        }
