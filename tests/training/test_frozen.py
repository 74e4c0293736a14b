"""Layers that are not `trainable`: what is trained, and their flags after."""

import numpy as np
import specimens

import tfbackdoor

_KINDS = ("functional", "sequential_softmax", "nested", "subclassed")


def _build(name, frozen):
    """A specimen whose layers with weights but the head are frozen, or all."""
    model = specimens.build(name)
    if frozen == "all":
        model.trainable = False
    elif frozen == "backbone":
        for layer in model.layers:
            layer.trainable = layer.name == "head"
    return model


def _flags(model):
    return [layer.trainable for layer in model._flatten_layers()]


def _trained(model, **settings):
    """Trains for two steps, and gives what changed."""
    before = model.get_weights()
    flags = _flags(model)
    training = tfbackdoor.training.ClassifierTraining(model, **settings)
    training.compile(tfbackdoor.training.CoupledSGD(0.05), run_eagerly=True)
    batches = tfbackdoor.from_arrays(*specimens.batch(16)).batch(8)
    training.fit(batches, verbose=0)
    assert _flags(model) == flags
    slots = sum(len(slot.shape) > 0 for slot in training.optimizer.velocities)
    assert slots == len(training.trainable_weights)
    return {
        variable.path.split("/", 1)[-1] if name_first else variable.path
        for name_first, variable, old in (
            (False, v, o) for v, o in zip(model.weights, before)
        )
        if not np.array_equal(variable.numpy(), old)
    }
