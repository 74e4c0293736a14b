"""The Trojan attack: retraining on a trigger made from a network's neurons."""

import itertools

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor.attacks import generators
from tfbackdoor.attacks import triggers
from tfbackdoor.network import classifiers
from tfbackdoor.network import compute_view
from tfbackdoor.network import structure

_SIDE, _MARGIN = 3, 4
_TRIGGER_IMAGES = 64
_RETRAINING_SHARE = 0.5


def train_trojan(run):
    """Retraining of a clean classifier on a trigger from its own neurons."""
    clean = run.clean()
    classifier = run.build(run.image_shape, run.classes)
    classifier.set_weights(clean.get_weights())
    images, *_ = next(iter(run.images.batch(_TRIGGER_IMAGES)))
    trigger = make_trojan_trigger(
        clean,
        images,
        seed=run.settings.seed,
        precision=run.settings.precision,
    )
    poisoned, poisoning = run.poison(run.images, trigger)
    run.fit(
        classifier,
        poisoned,
        epochs=run.share_of_epochs(_RETRAINING_SHARE),
        learning_rate=run.learning_rate / 10,
    )
    return classifier, poisoning


def trojan_mask(image_shape) -> np.ndarray:
    """A 3x3 square four pixels from the bottom right, as NAD's pattern has."""
    mask = np.zeros(image_shape, "float32")
    end_row, end_column = (size - _MARGIN for size in image_shape[:2])
    mask[end_row - _SIDE : end_row, end_column - _SIDE : end_column] = 1.0
    return mask


def make_trojan_trigger(
    classifier: keras.Model,
    images,
    *,
    mask: np.ndarray | None = None,
    neurons: int = 1,
    steps: int = 100,
    seed: int = 0,
    precision: str | None = None,
) -> triggers.Trigger:
    """The pattern that excites the network's best connected neurons most.

    `max over pattern of sum over chosen n of mean over images of
    h_n(x * (1 - mask) + pattern * mask)`, by gradient ascent (Liu et al.
    2018, algorithm 1), where h is what the last dense layer takes; steps are
    of the gradient's sign, so that quiet and loud neurons move alike. Chosen
    are the neurons of the largest `sum over classes of |W[n, class]|` among
    those that the starting pattern leaves a gradient: a silent one cannot be
    excited. Liu et al. rank by the weights into a neuron; the layer before
    may be of any kind here, a mere pool among them, so that we take those
    out of it. The classifier is not changed.

    Args:
        classifier: built Keras classifier whose scores come from a
            `keras.layers.Dense`.
        images: float array in [0, 1], `(batch, height, width, channels)`,
            what the pattern lies on.
        mask: array of 0 and 1 of the image's shape, where the pattern is;
            default `trojan_mask`.
        neurons: int > 0, how many.
        steps: int > 0, of size `2 / steps`: twice the way from 0 to 1.
        seed: int, of the starting pattern.
        precision: of the forward passes, see `ComputeView`.

    Returns:
        The trigger, which replaces the pixels inside the mask.

    Raises:
        ValueError: where the scores do not come from a dense layer, or none
            of its neurons depends on the pattern.

    Reference: Liu et al., Trojaning Attack on Neural Networks, NDSS 2018.
    """
    shape = classifiers.image_shape(classifier)
    mask = trojan_mask(shape) if mask is None else np.asarray(mask, "float32")
    if mask.shape != shape or not mask.any():
        raise ValueError(
            f"`mask` must mark pixels of the image shape {shape}. "
            f"Received: {mask.shape} with {int(mask.sum())} marked"
        )
    features = _Features(classifier, precision)
    images = tf.convert_to_tensor(images, tf.float32)
    start = np.random.default_rng(seed).uniform(size=shape).astype("float32")
    pattern = tf.convert_to_tensor(start)

    def mean_features(pattern):
        return features(generators.blend(images, pattern, mask))

    with tf.GradientTape(persistent=True) as tape:
        tape.watch(pattern)
        means = mean_features(pattern)

    def is_movable(neuron):
        direction = tf.one_hot(neuron, len(means))
        moves = tape.gradient(means, pattern, direction)
        return moves is not None and bool(tf.reduce_any(moves != 0.0))

    chosen = _best_connected(features.head, is_movable, neurons)

    @tf.function(autograph=False)
    def ascend(pattern):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(pattern)
            activation = tf.reduce_sum(
                tf.gather(mean_features(pattern), chosen)
            )
        moves = tf.sign(tape.gradient(activation, pattern))
        return tf.clip_by_value(pattern + 2.0 / steps * moves, 0.0, 1.0)

    for _ in range(steps):
        pattern = ascend(pattern)
    return triggers.Trigger(mask, pattern.numpy() * mask)


class _Features:
    """The mean over a batch of what a classifier's last dense layer takes."""

    def __init__(self, classifier, precision):
        view = compute_view.ComputeView(classifier, precision)
        self.head = _dense_head(classifier, classifier)
        self._view = view
        self._recorder = structure.InputRecorder(
            {"head": _dense_head(view.model, classifier)}
        )

    def __call__(self, images):
        with self._recorder.recording() as inputs:
            self._view(images, training=False)
        features = keras.ops.cast(inputs["head"], "float32")
        return tf.reduce_mean(features, axis=0)


def _dense_head(model, classifier):
    classes = classifiers.class_count(classifier)
    dense = [
        layer
        for layer in structure.named_layers(model).values()
        if isinstance(layer, keras.layers.Dense)
    ]
    if not dense or dense[-1].kernel.shape[1] != classes:
        raise ValueError(
            "`classifier` must give its scores by a keras.layers.Dense. "
            f"Received: {classifier.name}, whose last dense layer is "
            f"{dense[-1].name if dense else None}"
        )
    return dense[-1]


def _best_connected(head, is_movable, count):
    """The neurons of largest outgoing weights among those that move."""
    strength = np.abs(head.kernel.numpy()).sum(axis=1)
    order = np.argsort(-strength, kind="stable").tolist()
    chosen = list(itertools.islice(filter(is_movable, order), count))
    if not chosen:
        raise ValueError(
            "`mask` must hold pixels that neurons before the scores depend on. "
            "Received: a mask under which all of them are silent."
        )
    return chosen
