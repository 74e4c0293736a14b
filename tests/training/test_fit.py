"""Which loop a fit is, what it takes, and how it shows its progress."""

import contextlib
import sys

import keras
import numpy as np
import pytest
import specimens
import tensorflow as tf

import tfbackdoor
from tfbackdoor.training import progress
from tfbackdoor.training import resumable_fit


def _training():
    training = tfbackdoor.training.ClassifierTraining(
        specimens.build("without_normalisation")
    )
    training.compile(keras.optimizers.SGD(0.01), run_eagerly=True)
    return training


def _batches(count=16):
    return tfbackdoor.from_arrays(*specimens.batch(count)).batch(8)


def _fit(x=None, y=None, **settings):
    x = _batches() if x is None else x
    return _training().fit(x, y, **{"verbose": 0, **settings})


@pytest.fixture
def without_own_loop(monkeypatch):
    monkeypatch.delattr(resumable_fit, "ResumableFit")


def test_a_fit_is_keras_own_and_takes_all_keywords(without_own_loop):
    history = _fit(
        epochs=4,
        initial_epoch=1,
        validation_data=_batches(8),
        validation_freq=2,
        class_weight={0: 1.0, 1: 0.0, 2: 0.0, 3: 0.0},
    )
    assert history.epoch == [1, 2, 3]
    assert len(history.history["loss"]) == 3
    assert len(history.history["val_loss"]) == 2  # After epochs 2 and 4.


def test_arrays_are_keras_own_too(without_own_loop):
    images, labels = specimens.batch(16)
    history = _fit(images, labels, batch_size=4, validation_split=0.5)
    assert history.params["steps"] == 2
    assert "val_loss" in history.history


def test_both_loops_learn_the_same(tmp_path):
    def weights():
        training = _training()
        training.fit(
            _batches(32).shuffle(4, seed=1),
            epochs=3,
            validation_data=_batches(8),
            verbose=0,
        )
        return training.classifier.get_weights(), training.history.history

    expected, expected_history = weights()
    with tfbackdoor.resumable(tmp_path):
        found, history = weights()
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    for name, values in expected_history.items():
        assert history[name] == pytest.approx(values, rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"validation_freq": 1}, "`validation_freq` is not taken by `fit`"),
        ({"batch_size": 4}, "`batch_size` is not taken by `fit`"),
        ({"validation_data": specimens.batch(8)}, "`validation_data` must be"),
        ({"x": specimens.batch(8)[0]}, "`x` must be a tf.data.Dataset"),
        ({"y": np.zeros(4)}, "`x` must be a tf.data.Dataset"),
    ],
)
def test_the_own_loop_refuses_by_name_what_it_does_not_take(
    tmp_path, settings, message
):
    with (
        tfbackdoor.resumable(tmp_path),
        pytest.raises(ValueError, match=message),
    ):
        _fit(**settings)


def test_the_own_loop_refuses_an_epoch_without_end(tmp_path):
    with (
        tfbackdoor.resumable(tmp_path),
        pytest.raises(ValueError, match="`x` must have a known cardinality"),
    ):
        _fit(_batches().repeat())


def test_no_epochs_train_nothing(tmp_path):
    for _ in range(2):
        with tfbackdoor.resumable(tmp_path, seconds=0.0):
            training = _training()
            before = training.classifier.get_weights()
            history = training.fit(_batches(), epochs=0, verbose=0)
        assert history.history == {}
        for old, new in zip(before, training.classifier.get_weights()):
            np.testing.assert_array_equal(old, new)


def test_two_replicas_get_the_batches_of_one(two_replicas):
    """A data set that shuffles draws anew for each iterator made of it."""
    weights = []
    for strategy in (tf.distribute.get_strategy(), two_replicas):
        with strategy.scope():
            training = tfbackdoor.training.ClassifierTraining(
                specimens.build("without_normalisation")
            )
            training.compile(keras.optimizers.SGD(0.1))
            images = tfbackdoor.from_arrays(*specimens.batch(32))
            batches = images.shuffle(32, seed=1).batch(4)
            training.fit(batches, epochs=2, verbose=0)
        weights.append(training.classifier.get_weights())
    for one, two in zip(*weights):
        np.testing.assert_allclose(one, two, atol=1e-5)


@pytest.mark.parametrize("resumes", [True, False])
def test_a_fit_reads_its_batches_without_tuning_threads(
    monkeypatch, tmp_path, resumes
):
    strategy = type(tf.distribute.get_strategy())
    distribute = strategy.experimental_distribute_dataset
    fed = []

    def note(self, dataset):
        fed.append(dataset.options().autotune.enabled)
        return distribute(self, dataset)

    monkeypatch.setattr(strategy, "experimental_distribute_dataset", note)
    with contextlib.ExitStack() as stack:
        if resumes:
            stack.enter_context(tfbackdoor.resumable(tmp_path))
        _fit()
    assert fed == [False]


@pytest.mark.parametrize(("watched", "expected"), [(True, 1), (False, 2)])
def test_auto_is_a_bar_in_a_terminal_and_lines_elsewhere(
    monkeypatch, watched, expected
):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: watched, raising=False)
    assert progress.verbosity("auto") == expected
    assert progress.verbosity(0) == 0


def test_auto_is_a_bar_in_a_notebook(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    assert progress.verbosity("auto") == 1


@pytest.mark.parametrize("resumes", [True, False])
def test_a_log_file_gets_a_line_an_epoch(tmp_path, capsys, resumes):
    with contextlib.ExitStack() as stack:
        if resumes:
            stack.enter_context(tfbackdoor.resumable(tmp_path))
        _fit(epochs=2, verbose="auto")
    printed = capsys.readouterr().out
    assert not {"\b", "\r", "\x1b"} & set(printed)
    # "Epoch 1/2", and the line of its scores.
    assert len(printed.splitlines()) == 4
