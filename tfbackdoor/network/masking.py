"""A classifier's neurons under masks and perturbations."""

import keras
import tensorflow as tf

from tfbackdoor.network import layers
from tfbackdoor.network import neurons as neurons_module


def make_masks(
    neurons: list[neurons_module.Neurons],
) -> list[layers.NeuronMask]:
    """A mask of ones for the neurons of each layer, at least float32."""
    masks = [
        layers.NeuronMask(
            group.count,
            group.mask_shape,
            dtype=keras.backend.result_type(
                group.source.variable_dtype, "float32"
            ),
        )
        for group in neurons
    ]
    for mask in masks:
        mask.build()
    return masks


def perturbation_sizes(neurons: list[neurons_module.Neurons]) -> list[int]:
    """Lengths of the scale and offset parts of a perturbation, in order."""
    return [
        size
        for group in neurons
        for size in (group.count, 0 if group.offset is None else group.count)
    ]


def masked_values(
    neurons: list[neurons_module.Neurons],
    masks: list[layers.NeuronMask],
    perturbation=None,
) -> dict:
    """What the classifier's variables become under masks.

    Args:
        neurons: as `find_neurons` gives them.
        masks: one `NeuronMask` for each.
        perturbation: tensor `(sum of perturbation_sizes(neurons),)`, the
            relative changes of scale and offset, layer by layer; or None.

    Returns:
        From `id` of a variable, or of a normalisation layer without scale,
        to the tensor in its place, as `ComputeView` takes it.
    """
    if perturbation is None:
        parts = [None] * (2 * len(neurons))
    else:
        parts = tf.split(perturbation, perturbation_sizes(neurons))
    values = {}
    for group, mask, scale_noise, offset_noise in zip(
        neurons, masks, parts[::2], parts[1::2]
    ):
        if group.scale is None:
            replaced, scale = group.source, tf.ones_like(mask.neuron_mask)
        else:
            replaced, scale = group.scale, group.scale.value
        offset = None if group.offset is None else group.offset.value
        masked, moved = mask(
            _as(mask.dtype, scale),
            _as(mask.dtype, offset),
            scale_noise=scale_noise,
            offset_noise=offset_noise,
        )
        values[id(replaced)] = _as(scale.dtype, masked)
        if offset is not None:
            values[id(group.offset)] = _as(offset.dtype, moved)
    return values


def _as(dtype, tensor):
    return None if tensor is None else tf.cast(tensor, dtype)
