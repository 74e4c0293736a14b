"""Flags of layers: read, lifted for a while, copied."""

import pytest
import specimens

import tfbackdoor
from tfbackdoor.network import trainable


def _freeze(model, what):
    if what == "all":
        model.trainable = False
    else:  # The first layer that trains, at whatever depth.
        layers = model._flatten_layers(include_self=False)
        next(x for x in layers if x.trainable_weights).trainable = False


def _flags(model):
    return (
        [layer.trainable for layer in model._flatten_layers()],
        [variable.trainable for variable in model.variables],
    )


@pytest.mark.parametrize("name", specimens.NAMES)
@pytest.mark.parametrize("what", ["all", "one"])
def test_frozen_weights_are_found_and_flags_stay(name, what):
    model = specimens.build(name)
    expected = [variable.path for variable in model.trainable_weights]
    _freeze(model, what)
    before = _flags(model)
    as_saved = trainable.trainable_weights(model, train_frozen=False)
    everything = trainable.trainable_weights(model, train_frozen=True)
    assert [variable.path for variable in everything] == expected
    assert len(as_saved) < len(everything)
    assert as_saved == model.trainable_weights
    assert _flags(model) == before


@pytest.mark.parametrize("name", specimens.NAMES)
def test_copies_have_the_flags_of_the_model(name):
    model = specimens.build(name)
    model.trainable = False
    model.layers[-1].trainable = True
    assert _flags(tfbackdoor.copy_classifier(model)) == _flags(model)


def test_flags_come_back_when_the_last_user_leaves_also_by_an_error():
    model = specimens.build("nested")
    _freeze(model, "all")
    before = _flags(model)
    with pytest.raises(RuntimeError), trainable.thawed(model):
        with trainable.thawed(model):
            assert all(layer.trainable for layer in model._flatten_layers())
        assert all(layer.trainable for layer in model._flatten_layers())
        raise RuntimeError
    assert _flags(model) == before
