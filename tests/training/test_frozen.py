"""Layers that are not `trainable`: what is trained, and their flags after."""

import keras
import numpy as np
import pytest
import specimens

import tfbackdoor

_KINDS = ("functional", "sequential_softmax", "nested", "subclassed")


def _build(name, frozen):
    """A specimen of which `"all"`, `"all but the head"` or `"nothing"` is."""
    model = specimens.build(name)
    if frozen == "all":
        model.trainable = False
    if frozen == "all but the head":
        for layer in model.layers:
            layer.trainable = layer.name == "head"
    return model


def _flags(model):
    return [layer.trainable for layer in model._flatten_layers()]


def _batches():
    return tfbackdoor.from_arrays(*specimens.batch(16)).batch(8)


def _train(model, run_eagerly=True, **settings):
    """The weights after two steps; no flag may have changed."""
    flags = _flags(model)
    training = tfbackdoor.training.ClassifierTraining(model, **settings)
    optimizer = tfbackdoor.training.CoupledSGD(0.05)
    training.compile(optimizer, run_eagerly=run_eagerly)
    training.fit(_batches(), verbose=0)
    assert _flags(model) == flags
    assert len(optimizer.velocities) == len(training.trainable_weights)
    return model.get_weights()


def _assert_equal(some, others):
    for one, other in zip(some, others, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("name", _KINDS)
def test_frozen_layers_are_trained_as_all_others(name):
    expected = _train(_build(name, "nothing"))
    for frozen in ("all", "all but the head"):
        _assert_equal(_train(_build(name, frozen)), expected)


@pytest.mark.parametrize("name", _KINDS)
def test_frozen_layers_are_left_alone_as_keras_does(name):
    model = _build(name, "all but the head")
    before = model.get_weights()
    found = _train(model, train_frozen=False)
    head = model.get_layer("head")
    for variable, old, new in zip(model.weights, before, found):
        is_head = any(variable is weight for weight in head.weights)
        assert np.array_equal(old, new) != is_head
    twin = _build(name, "all but the head")
    softmax = name in specimens.GIVE_PROBABILITIES
    twin.compile(
        tfbackdoor.training.CoupledSGD(0.05),
        keras.losses.SparseCategoricalCrossentropy(from_logits=not softmax),
        run_eagerly=True,
    )
    for images, labels in _batches():
        twin.train_on_batch(images, labels)
    _assert_equal(found, twin.get_weights())


def test_nothing_to_train_is_refused():
    with pytest.raises(ValueError, match="`train_frozen` must be True"):
        _train(_build("functional", "all"), train_frozen=False)


def test_replicas_that_trace_together_train_frozen_layers_too(two_replicas):
    with two_replicas.scope():
        model = _build("subclassed", "all")
        before = model.get_weights()
        after = _train(model, run_eagerly=False)
    for variable, old, new in zip(model.weights, before, after):
        does_nothing = variable.path.endswith("conv/bias")
        assert np.abs(old - new).max() > 1e-5 or does_nothing


class _Failing(keras.losses.Loss):
    def call(self, labels, outputs):
        raise RuntimeError("as planned")


@pytest.mark.parametrize("name", ["functional", "subclassed"])
def test_flags_come_back_when_a_fit_fails(name):
    model = _build(name, "all but the head")
    flags = _flags(model)
    training = tfbackdoor.training.ClassifierTraining(model)
    training.compile("sgd", _Failing())
    with pytest.raises(RuntimeError, match="as planned"):
        training.fit(_batches(), verbose=0)
    assert _flags(model) == flags


def _by_nad(model, **settings):
    nad = tfbackdoor.NeuralAttentionDistillation(
        tfbackdoor.copy_classifier(model), teacher_epochs=1, **settings
    )
    nad.compile(tfbackdoor.training.CoupledSGD(0.01), run_eagerly=True)
    nad.fit(_batches(), epochs=1, verbose=0)
    assert _flags(nad.teacher) == _flags(model)
    return nad.student


def _by_distillation(model, **settings):
    distillation = tfbackdoor.defenses.Distillation(
        tfbackdoor.copy_classifier(model),
        specimens.build_teacher(),
        **settings,
    )
    distillation.compile(tfbackdoor.training.CoupledSGD(0.01), run_eagerly=True)
    distillation.fit(_batches(), verbose=0)
    return distillation.student


def _by_curve(model, **settings):
    curve = tfbackdoor.defenses.BezierCurve(model, model, **settings)
    curve.compile(run_eagerly=True)
    curve.fit(_batches(), verbose=0)
    return curve.classifier_at(0.5, _batches())


def _by_fine_tuning(model, **settings):
    return tfbackdoor.fine_tune(
        model, _batches(), epochs=1, verbose=0, **settings
    )


@pytest.mark.parametrize("train_frozen", [True, False])
@pytest.mark.parametrize(
    "method", [_by_nad, _by_distillation, _by_curve, _by_fine_tuning]
)
def test_methods_train_frozen_layers_and_give_the_flags_back(
    method, train_frozen
):
    model = _build("functional", "all but the head")
    before = model.get_weights()
    flags = _flags(model)
    purified = method(model, train_frozen=train_frozen)
    assert _flags(model) == _flags(purified) == flags
    changed = {
        variable.path
        for variable, old, new in zip(
            model.weights, before, purified.get_weights()
        )
        if np.abs(old - new).max() > 1e-6
    }
    head = {v.path for v in model.get_layer("head").weights}
    # A bias before a batch normalisation does nothing.
    biases = {
        v.path for v in model.weights if "conv" in v.path and "bias" in v.path
    }
    others = {v.path for v in model.weights} - head - biases
    assert changed - biases == head | (others if train_frozen else set())
