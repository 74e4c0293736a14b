"""Fine-Pruning: cut what clean images leave dormant, then fine-tune."""

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor.defenses import fine_tuning
from tfbackdoor.defenses import pruning
from tfbackdoor.defenses import result
from tfbackdoor.network import classifiers
from tfbackdoor.network import copying
from tfbackdoor.network import graph
from tfbackdoor.network import neurons as neurons_module
from tfbackdoor.network import structure

_STEPS = 64
_READ_BATCH = 256


@dataclasses.dataclass(frozen=True, eq=False)
class DormantPruning:
    """A classifier whose dormant channels were cut, and how that was chosen.

    Args:
        classifier: the pruned copy.
        layer: str, the layer whose channels were ranked.
        pruned: from layer name to the indices of its pruned channels.
        curve: the scores on the held-out images, by channels cut.
        chosen: the point of the curve that was taken.
    """

    classifier: keras.Model
    layer: str
    pruned: dict[str, np.ndarray]
    curve: Sequence[pruning.CurvePoint]
    chosen: pruning.CurvePoint


def last_convolution(
    classifier: keras.Model,
) -> neurons_module.Neurons:
    """The neurons of the last convolution, or of the last layer that has any.

    Those of the normalisation that follows it, where one does: its channels
    are the convolution's (see `find_neurons`).
    """
    neurons, _ = neurons_module.find_neurons(classifier)
    outputs = _outputs(classifier, neurons)
    maps = [group for group in neurons if len(outputs[group.layer].shape) == 4]
    return (maps or neurons)[-1]


def mean_activations(
    classifier: keras.Model, images: tf.data.Dataset, layer: str | None = None
) -> np.ndarray:
    """How active each channel of a layer is: `mean of max(0, output)`.

    The mean goes over images and positions; a negative output counts as none,
    as after the ReLU that follows.

    Args:
        classifier: built Keras classifier.
        images: unbatched data set of clean `(image, label)` in [0, 1].
        layer: name of a layer with neurons, default `last_convolution`.

    Returns:
        Float array `(channels,)`.

    Raises:
        ValueError: where `layer` holds no neurons; the message lists those
            that do.
    """
    group = _group(classifier, layer)
    recorder = structure.OutputRecorder({group.layer: group.source})

    @tf.function(reduce_retracing=True, autograph=False)
    def summed(batch):
        with recorder.recording() as outputs:
            graph.call(classifier, batch)
        output = _channels_last(group, outputs[group.layer])
        output = tf.cast(output, tf.float32)
        by_channel = tf.reshape(tf.nn.relu(output), [-1, group.count])
        return tf.reduce_sum(by_channel, 0), tf.shape(by_channel)[0]

    total, count = np.zeros(group.count), 0
    for batch, *_ in images.batch(_READ_BATCH):
        sums, rows = summed(batch)
        total, count = total + sums.numpy(), count + int(rows)
    return total / count


def prune_dormant(
    classifier: keras.Model,
    clean: tf.data.Dataset,
    held_out: tf.data.Dataset,
    *,
    layer: str | None = None,
    max_accuracy_drop: float = 0.04,
    precision: str | None = None,
) -> DormantPruning:
    """A copy without the channels that clean images leave dormant.

    Channels of one layer are cut in the order of their mean activation on
    clean images, the least active first, as long as clean accuracy on
    held-out images stays within a budget (Liu et al. 2018). A
    channel is cut as `prune_neurons` cuts: its scale becomes 0, its offset
    stays.

    Args:
        classifier: built Keras classifier; it is not changed.
        clean: unbatched data set of clean `(image, label)`, ranks.
        held_out: unbatched clean images that `clean` does not hold, choose.
        layer: name of a layer with neurons, default `last_convolution`.
        max_accuracy_drop: float in [0, 1], accuracy that may be lost. One
            channel is kept in any case.
        precision: of the held-out passes, see `ComputeView`.

    Reference: Liu, Dolan-Gavitt & Garg, Fine-Pruning: Defending Against
    Backdooring Attacks on Deep Neural Networks, RAID 2018.
    """
    group = _group(classifier, layer)
    activations = mean_activations(classifier, clean, group.layer)
    masks = _masks(classifier, group, activations)
    curve = pruning.pruning_curve(
        classifier,
        masks,
        held_out,
        thresholds=_thresholds(group.count),
        precision=precision,
    )
    chosen = pruning.choose_threshold(
        curve, max_accuracy_drop=max_accuracy_drop
    )
    copy = copying.copy_classifier(classifier)
    pruned = pruning.prune_neurons(copy, masks, number=chosen.pruned)
    return DormantPruning(copy, group.layer, pruned, curve, chosen)


def by_fine_pruning(
    classifier,
    clean,
    run,
    *,
    layer: str | None = None,
    max_accuracy_drop: float = 0.04,
    held_out: float = 0.2,
    epochs: int = 10,
    batch_size: int = 64,
    learning_rate: float = 0.01,
    decay_factor: float = 1.0,
    decay_every: int = 2,
    weight_decay: float = 1e-4,
) -> result.DefenseResult:
    """Fine-Pruning (Liu et al. 2018); see `prune_dormant`.

    Args:
        classifier: see `defend`.
        clean: see `defend`.
        run: the other arguments of `defend`.
        layer: name of the layer to prune, default the last convolution.
        max_accuracy_drop: float in [0, 1], held-out accuracy that pruning may
            cost (0.04).
        held_out: float in (0, 1), share of the clean images that judges.
        epochs: int > 0, of fine-tuning.
        batch_size: int > 0.
        learning_rate: float > 0, lower than in fine-tuning alone.
        decay_factor: float in (0, 1], see `step_decay`.
        decay_every: int > 0, see `step_decay`.
        weight_decay: float >= 0.
    """
    optimise, judge, run = run.hold_out(clean, held_out)
    found = prune_dormant(
        classifier,
        optimise,
        judge,
        layer=layer,
        max_accuracy_drop=max_accuracy_drop,
        precision=run.precision,
    )
    tuned = fine_tuning.fine_tune(
        found.classifier,
        run.batches(optimise, batch_size),
        epochs=epochs,
        optimizer=fine_tuning.paper_optimizer(learning_rate, weight_decay),
        decay_factor=decay_factor,
        decay_every=decay_every,
        pruned=found.pruned,
        precision=run.precision,
        train_frozen=run.train_frozen,
        verbose=run.verbose,
    )
    return result.DefenseResult(
        {"pruned": found.classifier, "after fine-pruning": tuned},
        {"layer": found.layer, "pruned_channels": found.chosen.pruned},
        {"curve": found.curve, "pruned": found.pruned},
    )


def _group(classifier, layer):
    """The neurons of the layer of that name."""
    if layer is None:
        return last_convolution(classifier)
    neurons, _ = neurons_module.find_neurons(classifier)
    by_name = {group.layer: group for group in neurons}
    if layer not in by_name:
        raise ValueError(
            f"`layer` must be one with neurons: {list(by_name)}. "
            f"Received: layer={layer!r}"
        )
    return by_name[layer]


def _outputs(classifier, neurons):
    """What the layers of `neurons` give for one blank image."""
    layers = {group.layer: group.source for group in neurons}
    recorder = structure.OutputRecorder(layers)
    shape = classifiers.image_shape(classifier)
    with recorder.recording() as outputs:
        graph.call(classifier, keras.ops.zeros((1, *shape)))
        return dict(outputs)


def _channels_last(group, output):
    """`output` with the axis of the neurons as its last."""
    first = getattr(group.source, "data_format", None) == "channels_first"
    axis = 1 if first else getattr(group.source, "axis", -1)
    if not isinstance(axis, int):
        (axis,) = axis
    return keras.ops.moveaxis(output, axis, -1)


def _masks(classifier, group, activations):
    """Masks of ones; those of `group` in the order of the activations."""
    neurons, _ = neurons_module.find_neurons(classifier)
    masks = {other.layer: np.ones(other.count) for other in neurons}
    order = np.argsort(activations, kind="stable")
    masks[group.layer][order] = np.arange(group.count) / group.count
    return masks


def _thresholds(count):
    """Cuts of 1 to all but one channel, at most `_STEPS` of them."""
    cut = np.linspace(1, count - 1, min(_STEPS, count - 1)).astype(int)
    return [float((number - 0.5) / count) for number in cut]
