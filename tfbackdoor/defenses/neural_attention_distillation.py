"""Neural Attention Distillation: attend as a clean teacher does."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor.defenses import attention
from tfbackdoor.defenses import fine_tuning
from tfbackdoor.network import compute_view
from tfbackdoor.network import feature_shapes
from tfbackdoor.network import first_batch
from tfbackdoor.network import refusals
from tfbackdoor.network import structure
from tfbackdoor.training import classifier_training

# The paper's weights of WRN's three groups; further taps weigh as the last.
_FIRST_BETA, _OTHER_BETAS = 500.0, 1000.0


@keras.saving.register_keras_serializable("tfbackdoor")
class NeuralAttentionDistillation(classifier_training.ClassifierTraining):
    """Trains a backdoored classifier to attend as a clean teacher does.

    `L = cross-entropy + sum over taps l of beta_l * ||A(F_s^l) /
    ||A(F_s^l)||_2 - A(F_t^l) / ||A(F_t^l)||_2||^2` (Li et al. 2021, eq. 3).
    `fit` changes the student's weights in place and nothing else. Where no
    teacher is given, `fit` first makes one: the student fine-tuned on the
    same clean images.

    Args:
        student: built Keras classifier that may carry a backdoor.
        teacher: classifier with the same layer names, or None.
        taps: names of the layers whose outputs are compared (see
            `find_taps`), default the last residual sum of each of the three
            smallest resolutions, or its last feature map where it has none:
            the paper's `("group1", "group2", "group3")` of `wide_resnet`.
            Features are maps or, as in a vision transformer, tokens.
        betas: floats >= 0, a weight for each tap, default 500 for the first
            and 1000 for all others, as in the authors' code.
        power: float > 0, p of the attention maps (2).
        teacher_epochs: int > 0, epochs of fine-tuning a teacher (10; 5 to 10
            in the paper).
        precision: `"float32"`, `"mixed_bfloat16"`, or None for the student's
            own. Attention maps and losses stay float32.

    Input shape:
        `(batch, height, width, channels)`, float32 in [0, 1].

    Output shape:
        `(batch, classes)`, what the student gives.

    Raises:
        ValueError: on an unknown, 1x1 or (in `fit`) constant tap, another
            number of betas than of taps, or a teacher with another resolution
            or number of tokens at a tap.

    Example:
        nad = NeuralAttentionDistillation(classifier)
        nad.compile()
        nad.fit(clean_batches)

    Reference: Li et al., Neural Attention Distillation: Erasing Backdoor
    Triggers from Deep Neural Networks, ICLR 2021.
    """

    _model_arguments = ("student", "teacher")

    def __init__(
        self,
        student: keras.Model,
        teacher: keras.Model | None = None,
        *,
        taps: Sequence[str] | None = None,
        betas: Sequence[float] | None = None,
        power: float = 2.0,
        teacher_epochs: int = 10,
        precision: str | None = None,
        **kwargs,
    ):
        super().__init__(student, precision=precision, **kwargs)
        taps = list(taps) if taps else attention.find_taps(student)
        attention.check_taps(student, taps)
        if betas is None:
            betas = [_FIRST_BETA] + [_OTHER_BETAS] * (len(taps) - 1)
        if len(betas) != len(taps) or min(betas) < 0.0:
            raise ValueError(
                f"`betas` must hold one number >= 0 for each of {taps}. "
                f"Received: betas={list(betas)}"
            )
        self.taps = tuple(taps)
        self.betas = tuple(betas)
        self.power = power
        self.teacher_epochs = teacher_epochs
        self._transfer = attention.AttentionTransfer(power=power)
        self._attention_loss = keras.metrics.Mean(name="attention_loss")
        self._student_taps = structure.OutputRecorder.of_names(
            self.view.model, self.taps
        )
        self._teacher_view = None
        if teacher is not None:
            self._set_teacher(teacher)

    @property
    def student(self) -> keras.Model:
        """The classifier that is trained."""
        return self.classifier

    @property
    def teacher(self) -> keras.Model | None:
        """The classifier that is imitated; None before `fit` made one."""
        return self._teacher_view and self._teacher_view.classifier

    def compile(self, optimizer=None, loss=None, metrics=None, **settings):
        """As Keras' `compile`; default `fine_tuning.paper_optimizer()`."""
        super().compile(
            optimizer or fine_tuning.paper_optimizer(),
            loss,
            metrics,
            **settings,
        )

    def fit(
        self,
        x=None,
        y=None,
        *,
        epochs: int = 10,
        validation_data=None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        decay_factor: float = 0.1,
        decay_every: int = 2,
        verbose="auto",
        **kwargs,
    ):
        """As Keras' `fit`, after making a teacher where none was given.

        The default epochs and the decay of the learning rate are the paper's:
        10 epochs, divided by 10 after every 2; `decay_factor=1` keeps it. The
        teacher is fine-tuned by the same schedule.
        """
        refusals.check_weights(self.student)
        first_batch.check_first_batch(self.student, x, y)
        if y is not None:
            x = tf.data.Dataset.from_tensor_slices((x, y))
            x = x.shuffle(len(y)).batch(kwargs.pop("batch_size", 64))
        if self.teacher is None:
            # The step is traced with the teacher inside: it must exist before.
            self._set_teacher(
                fine_tuning.fine_tune(
                    self.student,
                    x,
                    validation=validation_data,
                    epochs=self.teacher_epochs,
                    decay_factor=decay_factor,
                    decay_every=decay_every,
                    precision=self.precision,
                    train_frozen=self.train_frozen,
                    verbose=verbose,
                )
            )
        self._check_teacher_differs()
        self._check_attention(next(iter(x))[0])
        decay = fine_tuning.step_decay(factor=decay_factor, every=decay_every)
        return super().fit(
            x,
            epochs=epochs,
            validation_data=validation_data,
            callbacks=[decay, *callbacks],
            shuffle=False,
            verbose=verbose,
            **kwargs,
        )

    def training_loss(self, images, labels, weights):
        with self._student_taps.recording() as student:
            outputs, updates = self.view(images, training=True)
        with self._teacher_taps.recording() as teacher:
            self._teacher_view(images, training=False)
        distance = 0.0
        for tap, beta in zip(self.taps, self.betas):
            imitated = tf.stop_gradient(teacher[tap])
            distance += beta * self._transfer(imitated, student[tap])
        classifier_training.log_losses(self, attention_loss=distance)
        loss = self.compute_loss(images, labels, outputs, weights)
        return loss + distance, outputs, updates

    def features(self, images) -> tuple[dict, dict]:
        """The student's and the teacher's tapped outputs at inference.

        Args:
            images: tensor `(batch, height, width, channels)` in [0, 1].

        Returns:
            Two dicts from tap to `(batch, height, width, channels)` or
            `(batch, tokens, channels)`.
        """
        with self._student_taps.recording() as student:
            self.view(images, training=False)
        with self._teacher_taps.recording() as teacher:
            self._teacher_view(images, training=False)
        return student, teacher

    def get_config(self):
        return {
            **super().get_config(),
            "taps": self.taps,
            "betas": self.betas,
            "power": self.power,
            "teacher_epochs": self.teacher_epochs,
        }

    def _set_teacher(self, teacher):
        attention.check_taps(teacher, self.taps)
        shapes, teacher_shapes = map(
            feature_shapes.feature_shapes, (self.student, teacher)
        )
        for tap in self.taps:
            if teacher_shapes[tap][:-1] != shapes[tap][:-1]:
                raise ValueError(
                    "`teacher` must have the student's resolution, or number "
                    f"of tokens, at each tap. Received: {teacher_shapes[tap]} "
                    f"for {shapes[tap]} at {tap!r}"
                )
        self._teacher_view = compute_view.ComputeView(teacher, self.precision)
        self._teacher_taps = structure.OutputRecorder.of_names(
            self._teacher_view.model, self.taps
        )

    def _check_teacher_differs(self):
        student, teacher = (
            classifier.get_weights()
            for classifier in (self.student, self.teacher)
        )
        if len(student) == len(teacher) and all(
            map(np.array_equal, student, teacher)
        ):
            raise ValueError(
                "`teacher` must differ from the student, which would learn "
                "nothing from it. Received: a teacher of equal weights."
            )

    def _check_attention(self, images):
        """Raises ValueError on a tap whose attention is constant."""
        _, teacher = self.features(images)
        for tap in self.taps:
            attention.check_not_constant(tap, teacher[tap])
