"""A curve of classifiers between two, along which the loss stays low."""

import dataclasses
from collections.abc import Sequence

import keras
import tensorflow as tf

from tfbackdoor import evaluation
from tfbackdoor import rates
from tfbackdoor.network import copying
from tfbackdoor.network import structure
from tfbackdoor.training import batch_statistics
from tfbackdoor.training import classifier_training
from tfbackdoor.training import optimizers

POINTS = tuple(round(0.1 * step, 1) for step in range(1, 10))
_READ_BATCH = 256


@dataclasses.dataclass(frozen=True)
class _Ends:
    """Keeps Keras from counting the end points among what is trained."""

    start: keras.Model
    end: keras.Model


@keras.saving.register_keras_serializable("tfbackdoor")
class BezierCurve(classifier_training.ClassifierTraining):
    """A curve of classifiers, clean images giving a low loss all along it.

    `phi(t) = (1 - t)^2 * start + 2 * t * (1 - t) * middle + t^2 * end` for all
    weights (Zhao et al. 2020, eq. 2). `fit` trains the middle point only, from
    half-way between the ends: each batch minimises the cross-entropy of phi(t)
    and `l2 / 2 * ||phi(t)||^2` at a t drawn uniformly from [0, 1] (eq. 3). The
    end points are not changed.

    Args:
        start: built Keras classifier, the point t = 0.
        end: classifier of the same architecture, t = 1. The pair is the
            backdoored classifier and a fine-tuned one, or two fine-tuned ones.
        l2: float >= 0, weight decay of the points (1e-4 in the authors' code).
        seed: int, of the draws of t.
        precision: of the forward passes, see `ClassifierTraining`.

    Input shape:
        `(batch, height, width, channels)`, float32 in [0, 1].

    Output shape:
        `(batch, classes)`, what the middle point gives.

    Raises:
        ValueError: where the ends are not of one architecture, or `l2` < 0.

    Example:
        curve = BezierCurve(fine_tuned, fine_tuned_again)
        curve.compile()
        curve.fit(clean_batches, epochs=100)
        repaired = curve.classifier_at(0.5, clean.batch(256))

    Reference: Zhao et al., Bridging Mode Connectivity in Loss Landscapes and
    Adversarial Robustness, ICLR 2020.
    """

    _model_arguments = ("start", "end")

    def __init__(
        self,
        start: keras.Model,
        end: keras.Model,
        *,
        l2: float = 1e-4,
        seed: int = 0,
        precision: str | None = None,
        **kwargs,
    ):
        _check_ends(start, end)
        if l2 < 0.0:
            raise ValueError(f"`l2` must be >= 0. Received: l2={l2}")
        middle = copying.copy_classifier(start)
        super().__init__(middle, precision=precision, **kwargs)
        self.l2 = l2
        self.seed = seed
        self._ends = _Ends(start, end)
        for variable, first, last in self._points():
            variable.assign((first.value + last.value) / 2.0)

    @property
    def start(self) -> keras.Model:
        """The point t = 0."""
        return self._ends.start

    @property
    def end(self) -> keras.Model:
        """The point t = 1."""
        return self._ends.end

    @property
    def middle(self) -> keras.Model:
        """The point that is trained, which is not on the curve itself."""
        return self.classifier

    def compile(self, optimizer=None, loss=None, metrics=None, **settings):
        """As Keras' `compile`; default SGD 0.01, momentum 0.9."""
        super().compile(
            optimizer or optimizers.CoupledSGD(0.01), loss, metrics, **settings
        )

    def values_at(self, t) -> dict:
        """The weights of the point t, as `ComputeView` takes them.

        Args:
            t: float or scalar tensor in [0, 1].

        Returns:
            From `id` of each floating-point variable of `middle` to a tensor.
        """
        values = {}
        for variable, first, last in self._points():
            at = tf.cast(t, variable.dtype)
            values[id(variable)] = (
                (1.0 - at) ** 2 * first.value
                + 2.0 * at * (1.0 - at) * variable.value
                + at**2 * last.value
            )
        return values

    def classifier_at(
        self, t: float, batches: tf.data.Dataset | None = None
    ) -> keras.Model:
        """The point t as a classifier of its own.

        Args:
            t: float in [0, 1].
            batches: batched clean images that the statistics of its batch
                normalisations are taken on; default none, which leaves them
                between those of the ends.
        """
        reader = _CurveReader(self)
        reader.go_to(t, batches)
        return reader.classifier

    def training_loss(self, images, labels, weights):
        iteration = tf.cast(self.optimizer.iterations, "int32")
        # The same on all replicas.
        t = tf.random.stateless_uniform([], tf.stack([self.seed, iteration]))
        values = self.values_at(t)
        outputs, updates = self.view(images, training=True, values=values)
        loss = self.compute_loss(images, labels, outputs, weights)
        return loss + self._decay(values), outputs, updates

    def get_config(self):
        return {**super().get_config(), "l2": self.l2, "seed": self.seed}

    def _decay(self, values):
        """This replica's share of the weight decay of a point."""
        squares = [
            tf.reduce_sum(tf.square(values[id(variable)]))
            for variable in self.trainable_variables
        ]
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        return self.l2 / 2.0 * tf.add_n(squares) / replicas

    def _points(self):
        """The variables of the middle point, those of the ends beside them."""
        return [
            variables
            for variables in zip(
                self.middle.weights, self.start.weights, self.end.weights
            )
            if keras.backend.is_float_dtype(variables[0].dtype)
        ]


def learning_rate_schedule(
    epochs: int,
) -> keras.callbacks.LearningRateScheduler:
    """The authors' schedule for the curve.

    The first learning rate for half of the epochs, then down along a line to
    a hundredth of it at nine tenths.
    """
    first = []

    def scheduled(epoch, learning_rate):
        if epoch == 0:
            first[:] = [learning_rate]
        done = min(max(((epoch + 1) / epochs - 0.5) / 0.4, 0.0), 1.0)
        return first[0] * (1.0 - 0.99 * done)

    return keras.callbacks.LearningRateScheduler(scheduled)


def read_curve(
    curve: BezierCurve,
    clean: tf.data.Dataset,
    held_out: tf.data.Dataset,
    *,
    points: Sequence[float] = POINTS,
) -> dict[float, rates.Scores]:
    """Clean accuracy along a trained curve.

    Args:
        curve: trained `BezierCurve`.
        clean: unbatched clean `(image, label)`, which the batch statistics of
            each point are taken on.
        held_out: unbatched clean images that `clean` does not hold.
        points: floats in [0, 1], where to read (0.1, 0.2 ... 0.9).

    Returns:
        From t to the scores of that point on `held_out`.
    """
    reader = _CurveReader(curve)
    counter = evaluation.BatchCounter(
        reader.classifier, precision=curve.precision
    )
    clean, held_out = clean.batch(_READ_BATCH), held_out.batch(_READ_BATCH)
    scores = {}
    for t in points:
        reader.go_to(t, clean)
        scores[t] = counter.scores(held_out)
    return scores


def choose_point(
    scores: dict[float, rates.Scores], *, max_accuracy_drop: float = 0.03
) -> float:
    """Where on the curve to stop, by clean accuracy alone.

    The point farthest from both ends, whose backdoor they may share, that
    is at most `max_accuracy_drop` less accurate than the best point read.

    Args:
        scores: from t to scores, as `read_curve` gives them.
        max_accuracy_drop: float in [0, 1].
    """
    if not 0.0 <= max_accuracy_drop <= 1.0:
        raise ValueError(
            "`max_accuracy_drop` must lie in [0, 1]. "
            f"Received: max_accuracy_drop={max_accuracy_drop}"
        )
    accuracies = {t: row.clean_accuracy.value for t, row in scores.items()}
    best = max(accuracies.values())
    good = [
        t
        for t, accuracy in accuracies.items()
        if rates.within_budget(best - accuracy, max_accuracy_drop)
    ]
    return min(good, key=lambda t: (abs(t - 0.5), -accuracies[t]))


class _CurveReader:
    """One classifier that takes the weights of any point of a curve."""

    def __init__(self, curve):
        self._curve = curve
        self.classifier = copying.copy_classifier(curve.middle)
        self._statistics = batch_statistics.BatchStatistics(
            self.classifier,
            curve.precision,
            train_frozen=curve.train_frozen,
        )

    def go_to(self, t, batches=None):
        if not 0.0 <= t <= 1.0:
            raise ValueError(f"`t` must lie in [0, 1]. Received: t={t}")
        values = self._curve.values_at(t)
        for variable, source in zip(
            self.classifier.weights, self._curve.middle.weights
        ):
            variable.assign(values.get(id(source), source.value))
        structure.refresh_statistics(self.classifier)
        if batches is not None:
            self._statistics.refresh(batches)


def _check_ends(start, end):
    shapes = [
        [tuple(variable.shape) for variable in model.weights]
        for model in (start, end)
    ]
    if shapes[0] != shapes[1]:
        raise ValueError(
            "`end` must be of the architecture of `start`. Received: "
            f"{end.name} with {len(shapes[1])} variables for {start.name} with "
            f"{len(shapes[0])}, or of other shapes"
        )
