"""Self-distillation: wins back on clean images what pruning cost."""

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor import classifiers
from tfbackdoor import compute_view
from tfbackdoor import inversion as inversion_module
from tfbackdoor import optimizers
from tfbackdoor import structure
from tfbackdoor import training
from tfbackdoor.defenses import attention
from tfbackdoor.defenses import fine_tuning
from tfbackdoor.defenses import pruning

_TRIGGERS_A_CLASS = 6
_TRIGGER_RATE = 0.1
_WARM_UP = 100
_FEW = 10


@keras.saving.register_keras_serializable("tfbackdoor")
class Distillation(training.ClassifierTraining):
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
        self.seed = seed
        self._teacher_view = compute_view.ComputeView(teacher, precision)
        self._teacher_gives_logits = classifiers.gives_logits(teacher)
        self._cross_entropy = keras.losses.CategoricalCrossentropy(
            from_logits=classifiers.gives_logits(student)
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
        if self._teacher_gives_logits:
            wanted = keras.ops.softmax(wanted)
        loss = self._cross_entropy(wanted, outputs, sample_weight=weights)
        for tap in self.taps:
            loss += _difference(wanted_features[tap], features[tap])
        return loss, outputs, updates

    def get_config(self):
        return {
            **super().get_config(),
            "taps": self.taps,
            "mixup": self.mixup,
            "batch_statistics": self.batch_statistics,
            "seed": self.seed,
        }

    def _mixed(self, images):
        if not self.mixup:
            return images
        shares = tf.random.stateless_uniform(
            [tf.shape(images)[0], 1, 1, 1],
            self._drawn_seed(0),
            maxval=self.mixup / 2.0,
        )
        return images * (1.0 - shares) + shares * tf.reverse(images, [0])

    def _stamped(self, images):
        """The images, the first half of them with a trigger each."""
        if self.inversion is None:
            return images
        half = tf.shape(images)[0] // 2
        stamped = self.inversion.stamp_one_each(
            images[:half], self._drawn_seed(1)
        )
        return tf.concat([stamped, images[half:]], axis=0)

    def _drawn_seed(self, purpose):
        """A seed of its own for each step, replica and purpose.

        It follows from the step alone, so that an interrupted fit goes on
        with the same draws.
        """
        replica = tf.distribute.get_replica_context()
        seed = tf.stack([self.seed, purpose])
        for number in (
            self.optimizer.iterations,
            replica.replica_id_in_sync_group,
        ):
            seed = tf.random.fold_in(seed, tf.cast(number, tf.int32))
        return seed


def recover(
    pruned_classifier: keras.Model,
    original: keras.Model,
    clean: tf.data.Dataset,
    pruned: dict[str, np.ndarray],
    *,
    triggers: inversion_module.InvertedTriggers | None = None,
    max_share: float = 0.03,
    max_opacity: float = 0.0,
    match_features: bool = False,
    mixup: float = 0.0,
    batch_statistics: bool = True,
    steps: int = 300,
    learning_rate: float = 0.01,
    optimizer: keras.optimizers.Optimizer | None = None,
    seed: int = 0,
    precision: str | None = None,
    verbose="auto",
) -> keras.Model:
    """A copy of a pruned classifier that has won its accuracy back.

    The classifier before pruning teaches the pruned one what it answers on
    clean images, where it answers well; without a trigger among them it
    cannot teach the backdoor, and the pruned neurons stay at zero. For the
    classes that a backdoor may call, patches that call them are searched all
    the while, from those given and from random ones, and unlearned.

    Args:
        pruned_classifier: what `prune_neurons` left; it is not changed.
        original: the classifier before pruning; it is not changed.
        clean: endless batched data set of clean `(images, labels)` in [0, 1].
        pruned: the pruned neurons, as `prune_neurons` gives them.
        triggers: what calls the classes that a backdoor may call, such as
            `scan.triggers.of(scan.suspects)`; default none.
        max_share: float in (0, 1], pixels that such a trigger may replace.
        max_opacity: float in [0, 1], of blends over all pixels that are
            unlearned beside the patches, 0 for none.
        match_features: bool, whether the teacher's feature maps are matched
            at `find_taps`, or its scores alone.
        mixup: float in [0, 1], see `Distillation`.
        batch_statistics: bool, see `Distillation`.
        steps: int > 0, batches.
        learning_rate: float > 0 at the start; falls to 0 along a cosine.
        optimizer: in place of SGD at that rate with Nesterov momentum 0.9 and
            weight decay 1e-4.
        seed: int, where the triggers start, and of the blends.
        precision: of the forward passes, see `ClassifierTraining`.
        verbose: Keras' verbosity.
    """
    recovered = fine_tuning.copy_classifier(pruned_classifier)
    inversion = None
    if triggers is not None and len(triggers.targets):
        inversion = _warm_inversion(
            recovered,
            triggers,
            clean,
            max_share=max_share,
            max_opacity=max_opacity,
            seed=seed,
            precision=precision,
        )
    distillation = Distillation(
        recovered,
        original,
        taps=_default_taps(recovered) if match_features else (),
        mixup=mixup,
        batch_statistics=batch_statistics,
        inversion=inversion,
        seed=seed,
        precision=precision,
    )
    if optimizer is None:
        rate = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
        optimizer = optimizers.CoupledSGD(rate, nesterov=True, l2=1e-4)
    distillation.compile(optimizer)
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


def _warm_inversion(
    classifier, triggers, clean, *, max_share, max_opacity, seed, precision
):
    """The triggers and random ones for each target, that already call it.

    Every other round of random ones are blends, where blends are wanted.
    """
    count = len(triggers.targets)
    blends = np.repeat(np.arange(_TRIGGERS_A_CLASS) % 2 == 1, count)
    blends &= max_opacity > 0.0
    inversion = inversion_module.TriggerInversion(
        classifier,
        np.tile(triggers.targets, _TRIGGERS_A_CLASS),
        penalty=0.0,
        max_share=np.where(blends, 1.0, max_share),
        max_opacity=np.where(blends, max_opacity, 1.0),
        seed=seed,
        precision=precision,
    )
    inversion.start_from(triggers)
    inversion.compile(
        keras.optimizers.Adam(_TRIGGER_RATE, beta_1=0.5, beta_2=0.9)
    )
    few = clean.map(lambda images, labels: (images[:_FEW], labels[:_FEW]))
    inversion.fit(few, steps_per_epoch=_WARM_UP, verbose=0)
    return inversion


def _default_taps(classifier):
    """Taps to match features at, none where there is no feature map."""
    try:
        return attention.find_taps(classifier)
    except ValueError:
        return []


def _difference(wanted, features):
    """Mean squared difference, in units of the variance of `wanted`."""
    wanted = keras.ops.cast(wanted, "float32")
    scale = keras.ops.std(wanted) + keras.config.epsilon()
    features = keras.ops.cast(features, "float32")
    return keras.losses.MeanSquaredError()(wanted / scale, features / scale)
