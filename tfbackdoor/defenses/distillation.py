"""Distillation: a classifier learns to see images as a teacher does."""

import keras
import tensorflow as tf

from tfbackdoor.defenses import attention
from tfbackdoor.defenses import inversion as inversion_module
from tfbackdoor.network import classifiers
from tfbackdoor.network import compute_view
from tfbackdoor.network import structure
from tfbackdoor.training import classifier_training
from tfbackdoor.training import step_seed


@keras.saving.register_keras_serializable("tfbackdoor")
class Distillation(classifier_training.ClassifierTraining):
    """Trains a classifier to see images as a teacher does.

    `L = -sum over classes of p_teacher * log p_student + sum over taps of
    mean((F_teacher - F_student)^2) / var(F_teacher)`, the mean over the batch
    (Hinton et al. 2015, temperature 1; Romero et al. 2015). Labels serve the
    metrics only. `fit` changes the student's weights in place.

    With an `inversion` on the student, each step first improves its triggers,
    then stamps them on half of the images that the student sees, while the
    teacher sees them unstamped: the student unlearns what the triggers call.

    Args:
        student: built Keras classifier.
        teacher: classifier of the same classes.
        taps: names of layers of both whose outputs are matched, may be empty.
        mixup: float in [0, 1], images are blended with others by up to half
            of this.
        batch_statistics: bool, whether the student normalises by the
            statistics of each batch, and so learns new ones (default), or by
            those it has. A few hundred images are few to learn them from.
        inversion: compiled `TriggerInversion` of the student, or None.
        protected: classes whose score the student must keep as the teacher has
            it on unstamped images, on a logarithmic scale. Of a class that
            has no clean images nothing else tells the student to keep it.
        seed: int, of the blends and of which image gets which trigger.
        precision: of the forward passes, see `ClassifierTraining`.

    Input shape:
        `(batch, height, width, channels)`, float32 in [0, 1].

    Output shape:
        `(batch, classes)`, what the student gives.

    Reference: Hinton et al., Distilling the Knowledge in a Neural Network,
    2015; Romero et al., FitNets: Hints for Thin Deep Nets, ICLR 2015.
    """

    _model_arguments = ("student", "teacher")

    def __init__(
        self,
        student: keras.Model,
        teacher: keras.Model,
        *,
        taps=(),
        mixup: float = 0.0,
        batch_statistics: bool = True,
        inversion: inversion_module.TriggerInversion | None = None,
        protected=(),
        seed: int = 0,
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
        if not 0.0 <= mixup <= 1.0:
            raise ValueError(
                f"`mixup` must lie in [0, 1]. Received: mixup={mixup}"
            )
        if inversion is not None and inversion.classifier is not student:
            raise ValueError(
                "`inversion` must search for triggers of the student. "
                f"Received: one of {inversion.classifier.name}"
            )
        self.taps = list(taps)
        if self.taps:
            for classifier in (student, teacher):
                attention.check_taps(classifier, self.taps)
        self.mixup = mixup
        self.batch_statistics = batch_statistics
        self.inversion = inversion
        self.protected = [int(target) for target in protected]
        self.seed = seed
        self._teacher_view = compute_view.ComputeView(teacher, precision)
        self._teacher_gives_logits = classifiers.gives_logits(teacher)
        self._gives_logits = classifiers.gives_logits(student)
        self._cross_entropy = keras.losses.CategoricalCrossentropy(
            from_logits=self._gives_logits
        )
        self._recorders = [
            structure.OutputRecorder.of_names(view.model, self.taps)
            for view in (self.view, self._teacher_view)
        ]

    @property
    def student(self) -> keras.Model:
        """The classifier that is trained."""
        return self.classifier

    @property
    def teacher(self) -> keras.Model:
        """The classifier that is imitated."""
        return self._teacher_view.classifier

    def train_step(self, data):
        if self.inversion is not None:
            images, labels, *_ = data
            few = -(-tf.shape(images)[0] // len(self.inversion.targets))
            self.inversion.train_step((images[:few], labels[:few]))
        return super().train_step(data)

    def training_loss(self, images, labels, weights):
        images = self._mixed(images)
        of_student, of_teacher = self._recorders
        with of_teacher.recording() as wanted_features:
            wanted, _ = self._teacher_view(images, training=False)
        with of_student.recording() as features:
            outputs, updates = self.view(
                self._stamped(images), training=self.batch_statistics
            )
        kept = self._lost_of_protected(wanted, outputs)
        if self._teacher_gives_logits:
            wanted = keras.ops.softmax(wanted)
        loss = kept + self._cross_entropy(
            wanted, outputs, sample_weight=weights
        )
        for tap in self.taps:
            loss += _difference(wanted_features[tap], features[tap])
        return loss, outputs, updates

    def get_config(self):
        return {
            **super().get_config(),
            "taps": self.taps,
            "mixup": self.mixup,
            "batch_statistics": self.batch_statistics,
            "protected": self.protected,
            "inversion": _inversion_to_config(self.inversion),
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config):
        config = classifier_training.models_from_config(
            config, cls._model_arguments
        )
        config["inversion"] = _inversion_from_config(
            config["inversion"], config["student"]
        )
        return cls(**config)

    def _lost_of_protected(self, wanted, outputs):
        """How far protected classes' scores of unstamped images moved."""
        if not self.protected:
            return 0.0
        first = 0 if self.inversion is None else tf.shape(outputs)[0] // 2
        wanted, given = (
            tf.gather(
                classifiers.log_probabilities(scores[first:], is_logits),
                self.protected,
                axis=1,
            )
            for scores, is_logits in (
                (wanted, self._teacher_gives_logits),
                (outputs, self._gives_logits),
            )
        )
        return _difference(wanted, given)

    def _mixed(self, images):
        if not self.mixup:
            return images
        shares = tf.random.stateless_uniform(
            [tf.shape(images)[0], 1, 1, 1],
            step_seed.step_seed(self.optimizer, self.seed, 0),
            maxval=self.mixup / 2.0,
        )
        return images * (1.0 - shares) + shares * tf.reverse(images, [0])

    def _stamped(self, images):
        """The images, the first half of them with a trigger each."""
        if self.inversion is None:
            return images
        half = tf.shape(images)[0] // 2
        stamped = self.inversion.stamp_one_each(
            images[:half], step_seed.step_seed(self.optimizer, self.seed, 1)
        )
        return tf.concat([stamped, images[half:]], axis=0)


def _inversion_to_config(inversion):
    """What a config holds of an inversion: all but its classifier."""
    if inversion is None:
        return None
    settings = inversion.get_config()
    del settings["classifier"]
    return {"settings": settings, "compile": inversion.get_compile_config()}


def _inversion_from_config(config, student):
    if config is None:
        return None
    inversion = inversion_module.TriggerInversion(student, **config["settings"])
    inversion.compile_from_config(config["compile"])
    return inversion


def _difference(wanted, features):
    """Mean squared difference, in units of the variance of `wanted`."""
    wanted = keras.ops.cast(wanted, "float32")
    scale = keras.ops.std(wanted) + keras.config.epsilon()
    features = keras.ops.cast(features, "float32")
    return keras.losses.MeanSquaredError()(wanted / scale, features / scale)
