"""Self-distillation: wins back on clean images what pruning cost."""

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor import classifiers
from tfbackdoor import compute_view
from tfbackdoor import optimizers
from tfbackdoor import training
from tfbackdoor.defenses import fine_tuning
from tfbackdoor.defenses import pruning


@keras.saving.register_keras_serializable("tfbackdoor")
class Distillation(training.ClassifierTraining):
    """Trains a classifier to score images as a teacher does.

    `L = -sum over classes of p_teacher * log p_student`, the mean over the
    batch (Hinton et al. 2015, temperature 1). Labels serve the metrics only.
    `fit` changes the student's weights in place and nothing else.

    Args:
        student: built Keras classifier.
        teacher: classifier of the same classes.
        precision: of the forward passes, see `ClassifierTraining`.

    Input shape:
        `(batch, height, width, channels)`, float32 in [0, 1].

    Output shape:
        `(batch, classes)`, what the student gives.

    Reference: Hinton et al., Distilling the Knowledge in a Neural Network,
    2015.
    """

    _model_arguments = ("student", "teacher")

    def __init__(
        self,
        student: keras.Model,
        teacher: keras.Model,
        *,
        precision: str | None = None,
        **kwargs,
    ):
        super().__init__(student, precision=precision, **kwargs)
        counts = [classifiers.class_count(m) for m in (student, teacher)]
        if counts[0] != counts[1]:
            raise ValueError(
                "`teacher` must tell the student's classes apart. Received: "
                f"{counts[1]} classes for {counts[0]}"
            )
        self._teacher_view = compute_view.ComputeView(teacher, precision)
        self._teacher_gives_logits = classifiers.gives_logits(teacher)
        self._cross_entropy = keras.losses.CategoricalCrossentropy(
            from_logits=classifiers.gives_logits(student)
        )

    @property
    def student(self) -> keras.Model:
        """The classifier that is trained."""
        return self.classifier

    @property
    def teacher(self) -> keras.Model:
        """The classifier that is imitated."""
        return self._teacher_view.classifier

    def training_loss(self, images, labels, weights):
        outputs, updates = self.view(images, training=True)
        wanted, _ = self._teacher_view(images, training=False)
        if self._teacher_gives_logits:
            wanted = keras.ops.softmax(wanted)
        loss = self._cross_entropy(wanted, outputs, sample_weight=weights)
        return loss, outputs, updates


def recover(
    pruned_classifier: keras.Model,
    original: keras.Model,
    clean: tf.data.Dataset,
    pruned: dict[str, np.ndarray],
    *,
    steps: int = 300,
    learning_rate: float = 0.01,
    precision: str | None = None,
    verbose="auto",
) -> keras.Model:
    """A copy of a pruned classifier that has won its accuracy back.

    The classifier before pruning teaches the pruned one what it answers on
    clean images, where it answers well; without a trigger among them it
    cannot teach the backdoor, and the pruned neurons stay at zero.

    Args:
        pruned_classifier: what `prune_neurons` left; it is not changed.
        original: the classifier before pruning; it is not changed.
        clean: endless batched data set of clean `(images, labels)` in [0, 1].
        pruned: the pruned neurons, as `prune_neurons` gives them.
        steps: int > 0, batches.
        learning_rate: float > 0 at the start; falls to 0 along a cosine.
        precision: of the forward passes, see `ClassifierTraining`.
        verbose: Keras' verbosity.
    """
    recovered = fine_tuning.copy_classifier(pruned_classifier)
    distillation = Distillation(recovered, original, precision=precision)
    rate = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    distillation.compile(optimizers.CoupledSGD(rate, nesterov=True, l2=1e-4))
    distillation.fit(
        clean,
        steps_per_epoch=steps,
        callbacks=[
            training.StopOnNaN(),
            pruning.HoldPruned(recovered, pruned),
        ],
        verbose=verbose,
    )
    return recovered
