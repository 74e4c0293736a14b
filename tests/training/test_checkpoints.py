"""Checkpoints: which one is used, and what resuming from it gives."""

import errno
import signal

import keras
import numpy as np
import pytest
import specimens

import tfbackdoor
from tfbackdoor.training import checkpoints


class _Killed(BaseException):
    """What a kill is to a test: nothing runs any more, the files stay."""


class _KillAt(keras.callbacks.Callback):
    def __init__(self, batches):
        super().__init__()
        self._left = batches

    def on_train_batch_begin(self, batch, logs=None):
        self._left -= 1
        if self._left < 0:
            raise _Killed


def _batches(**settings):
    images = tfbackdoor.from_arrays(*specimens.batch(40))
    batches = tfbackdoor.training_batches(images, 8, seed=1, **settings)
    return tfbackdoor.augment(batches, padding=1, seed=2)


def _masks(callbacks):
    anp = tfbackdoor.AdversarialNeuronPruning(
        specimens.build("without_normalisation")
    )
    anp.compile()
    history = anp.fit(
        _batches(replacement=True),
        epochs=3,
        steps_per_epoch=4,
        callbacks=callbacks,
        verbose=0,
    )
    return list(anp.neuron_masks().values()), history


def _purified(callbacks):
    student = specimens.build("functional")
    nad = tfbackdoor.NeuralAttentionDistillation(student, teacher_epochs=2)
    nad.compile()
    history = nad.fit(_batches(), epochs=3, callbacks=callbacks, verbose=0)
    return [*student.get_weights(), *nad.teacher.get_weights()], history


def _unlearned(callbacks):
    """Two halves of i-BAU; batches are counted over both."""
    model = specimens.build("functional")
    perturbation = tfbackdoor.defenses.UniversalPerturbation(model, norm=1.0)
    perturbation.compile(keras.optimizers.SGD(0.1))
    perturbation.fit(_batches(), callbacks=callbacks, verbose=0)
    training = tfbackdoor.defenses.ImplicitUnlearning(
        model, perturbation, fixed_point_steps=2
    )
    training.compile(keras.optimizers.Adam(1e-3))
    history = training.fit(_batches(), callbacks=callbacks, verbose=0)
    return [perturbation.pattern.numpy(), *model.get_weights()], history


def _recovered(callbacks):
    """Two halves of RNP; batches are counted over both."""
    model = specimens.build("without_normalisation")
    unlearning = tfbackdoor.defenses.NeuronUnlearning(model)
    unlearning.compile(tfbackdoor.training.CoupledSGD(0.01))
    unlearning.fit(_batches(), callbacks=callbacks, verbose=0)
    recovery = tfbackdoor.defenses.NeuronRecovery(model)
    recovery.compile()
    history = recovery.fit(_batches(), callbacks=callbacks, verbose=0)
    return [*model.get_weights(), *recovery.neuron_masks().values()], history


# In the middle of an epoch, and before the first batch of another one.
@pytest.mark.parametrize(
    ("train", "batches"),
    [
        (_masks, 6),
        (_masks, 8),
        (_purified, 7),
        (_unlearned, 7),
        (_recovered, 7),
    ],
)
def test_a_fit_that_was_killed_learns_what_another_learns(
    tmp_path, train, batches, capsys
):
    tfbackdoor.set_seed(0)
    expected, expected_history = train([])
    tfbackdoor.set_seed(0)
    with (
        pytest.raises(_Killed),
        tfbackdoor.resumable(tmp_path, seconds=0.0),
    ):
        train([_KillAt(batches)])
    tfbackdoor.set_seed(0)
    with tfbackdoor.resumable(tmp_path, seconds=0.0):
        found, history = train([])
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert history.epoch == expected_history.epoch
    for name, values in expected_history.history.items():
        assert history.history[name] == pytest.approx(values, rel=1e-5)
    assert "Resuming from" in capsys.readouterr().out


def test_the_best_epoch_so_far_is_remembered(tmp_path):
    held_out = tfbackdoor.from_arrays(*specimens.batch(24, seed=9)).batch(8)

    def tune():
        tfbackdoor.set_seed(0)
        return tfbackdoor.fine_tune(
            specimens.build("functional"),
            _batches(),
            validation=held_out,
            epochs=3,
            verbose=0,
        ).get_weights()

    expected = tune()
    with (
        pytest.raises(tfbackdoor.training.Stopped),
        tfbackdoor.resumable(tmp_path, seconds=0.0) as job,
    ):
        # As a signal in the last epoch would.
        job_saves = iter(range(12))
        due = checkpoints.FitCheckpoints.due

        def stopping(saved):
            if next(job_saves) == 11:
                job.stop()
            return due(saved)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(checkpoints.FitCheckpoints, "due", stopping)
            tune()
    with tfbackdoor.resumable(tmp_path):
        found = tune()
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def _saved(folder, *positions):
    """A fit's checkpoints, whose only value is their position."""
    job = checkpoints.Job(folder, 0.0)
    with job.fit() as saved:
        for position in positions:
            saved.save(position, {"at": position}, [np.array([position])])
    return saved


def _loaded(saved):
    header, (value,) = saved.load()
    assert value.view("int64").tolist() == [header["at"]]
    return header["at"]


def test_the_last_two_checkpoints_are_kept(tmp_path):
    saved = _saved(tmp_path, 1, 2, 10)
    assert len(list(tmp_path.iterdir())) == 2
    assert _loaded(saved) == 10


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_broken_checkpoint_is_noticed_and_the_one_before_used(
    tmp_path, damage, capsys
):
    saved = _saved(tmp_path, 1, 2)
    last = sorted(tmp_path.iterdir())[-1]
    content = bytearray(last.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    else:
        # The value 2, eight bytes behind its array's header.
        content[content.index((2).to_bytes(8, "little") + b"PK")] = 7
    last.write_bytes(content)
    assert _loaded(saved) == 1
    assert "broken checkpoint" in capsys.readouterr().out


def test_a_full_disk_costs_the_checkpoint_not_the_job(
    tmp_path, monkeypatch, capsys
):
    saved = _saved(tmp_path, 1)

    def fail(path, **arrays):
        path.write_bytes(b"PK")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", fail)
    saved.save(2, {"at": 2}, [np.array([2])])
    assert "No space left" in capsys.readouterr().err
    assert len(list(tmp_path.iterdir())) == 1
    assert _loaded(saved) == 1


def test_random_states_come_back(tmp_path):
    saved = _saved(tmp_path, 1)
    expected = np.random.rand(3)
    saved.load()
    np.testing.assert_array_equal(np.random.rand(3), expected)


def test_a_checkpoint_of_other_variables_is_refused(tmp_path):
    with tfbackdoor.resumable(tmp_path, seconds=0.0):
        _masks([])
    with (
        tfbackdoor.resumable(tmp_path, seconds=0.0),
        pytest.raises(ValueError, match="of the same job"),
    ):
        _purified([])


def test_stop_between_fits_ends_at_once(tmp_path):
    with (
        tfbackdoor.resumable(tmp_path) as job,
        pytest.raises(checkpoints.Stopped),
    ):
        job.stop()


def test_seconds_must_not_be_negative(tmp_path):
    with (
        pytest.raises(ValueError, match="`seconds`"),
        tfbackdoor.resumable(tmp_path, seconds=-1.0),
    ):
        pass


def test_stopping_a_job_is_a_signal_handler(tmp_path):
    with tfbackdoor.resumable(tmp_path) as job:
        for handler in (job.stop, checkpoints.stop):
            with pytest.raises(tfbackdoor.training.Stopped):
                handler(signal.SIGTERM, None)
