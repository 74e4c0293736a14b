"""The loop of a fit that saves checkpoints, or that several workers run."""

import keras
import tensorflow as tf

from tfbackdoor.network import devices
from tfbackdoor.training import checkpoints
from tfbackdoor.training import feeding

KEYWORDS = (
    "callbacks",
    "epochs",
    "shuffle",
    "steps_per_epoch",
    "validation_data",
    "verbose",
)
_WHERE = "within `resumable` or where several workers train"


def check(x, y, settings: dict) -> None:
    """Raises ValueError on what this loop does not take.

    Args:
        x, y: as in Keras' `fit`; a data set of known cardinality, and None.
        settings: dict of keywords of Keras' `fit`.
    """
    unknown = sorted(set(settings) - set(KEYWORDS))
    if unknown:
        raise ValueError(
            f"`{unknown[0]}` is not taken by `fit` {_WHERE}, which takes "
            f"{', '.join(KEYWORDS)}. Received: "
            f"{unknown[0]}={settings[unknown[0]]!r}"
        )
    if y is not None or not isinstance(x, tf.data.Dataset):
        raise ValueError(
            f"`x` must be a tf.data.Dataset of `(images, labels)` {_WHERE}. "
            f"Received: {type(x).__name__}"
        )
    if not settings.get("steps_per_epoch") and int(x.cardinality()) <= 0:
        raise ValueError(
            f"`x` must have a known cardinality {_WHERE}, or "
            "`steps_per_epoch` be given. Received: a data set of cardinality "
            f"{int(x.cardinality())}"
        )
    if isinstance(settings.get("validation_data"), (tuple, list)):
        raise ValueError(
            f"`validation_data` must be a tf.data.Dataset {_WHERE}. "
            "Received: arrays"
        )


class ResumableFit:
    """One fit with checkpoints; the loop is that of Keras' `fit`.

    A callback with `get_state()`, a list of arrays, and `set_state(arrays)` has
    its memory saved too.

    Args:
        trainer: compiled `Trainer`.
        saved: its `FitCheckpoints`.
        x, epochs, steps_per_epoch, validation_data, callbacks, verbose: as in
            Keras' `fit`.
        shuffle: without meaning for a data set, as in Keras.
    """

    def __init__(
        self,
        trainer,
        saved,
        x,
        *,
        epochs=1,
        steps_per_epoch=None,
        validation_data=None,
        callbacks=(),
        shuffle=False,
        verbose=0,
    ):
        self.trainer = trainer
        self.spans_workers = devices.spans_workers(trainer.distribute_strategy)
        self.saved = saved
        self.epochs = epochs
        self.validation_data = validation_data
        self.feed = feeding.Feed(trainer, x, steps_per_epoch)
        callbacks = list(callbacks or ())
        self.with_memory = [c for c in callbacks if hasattr(c, "get_state")]
        self.callbacks = keras.callbacks.CallbackList(
            callbacks,
            add_history=True,
            add_progbar=verbose != 0,
            verbose=verbose,
            epochs=epochs,
            steps=self.feed.steps,
            model=trainer,
        )

    def run(self):
        """Trains from the last checkpoint, or from the start, to the end."""
        trainer = self.trainer
        trainer.make_metrics(self.feed.element_spec)
        trainer.stop_training = False
        trainer.make_train_function()
        self.callbacks.on_train_begin()
        header, values = self.saved.load() or ({}, [])
        first, step = header.get("epoch", 0), header.get("step", 0)
        if header:
            self.feed.seek(first, step)
            if not step:
                self._restore(header, values)
            if header["done"]:
                return trainer.history
        done = first
        for epoch in range(first, self.epochs):
            trainer.reset_metrics()
            self.callbacks.on_epoch_begin(epoch)
            if step:
                self._restore(header, values)
            self._run_epoch(epoch, step)
            done, step = epoch + 1, 0
            if trainer.stop_training:
                break
            if done < self.epochs:
                self._save_if_due(done, 0)
        trainer.optimizer.finalize_variable_values(trainer.trainable_weights)
        self.callbacks.on_train_end()
        if done and self.saved.worth_keeping():
            self._save(done, 0, done=True)
        return trainer.history

    def _run_epoch(self, epoch, first):
        """One epoch from its batch `first` on."""
        trainer, logs = self.trainer, {}
        if not first:
            self.feed.begin_epoch()
        at_once = trainer.steps_per_execution
        for step in range(first, self.feed.steps, at_once):
            self.callbacks.on_train_batch_begin(step)
            logs = trainer.train_function(self.feed.iterator)
            self.callbacks.on_train_batch_end(step + at_once - 1, logs)
            if trainer.stop_training:
                break
            if step + at_once < self.feed.steps:
                self._save_if_due(epoch, step + at_once)
        self.feed.end_epoch()
        results = trainer.get_metrics_result()
        logs = dict(results if set(results) == set(logs) else logs)
        if self.validation_data is not None:
            scores = trainer.evaluate(
                self.validation_data,
                callbacks=self.callbacks,
                return_dict=True,
            )
            logs |= {f"val_{name}": score for name, score in scores.items()}
        self.callbacks.on_epoch_end(epoch, logs)

    def _save_if_due(self, epoch, step):
        # Several workers can agree on the end of an epoch alone.
        if self.saved.due() and not (step and self.spans_workers):
            self._save(epoch, step)
        if self.saved.stopping:
            raise checkpoints.Stopped

    def _save(self, epoch, step, *, done=False):
        history = self.trainer.history
        header = {
            "epoch": epoch,
            "step": step,
            "done": done,
            "history": {
                name: list(map(float, values))
                for name, values in history.history.items()
            },
            "epochs": history.epoch,
        }
        values = [
            variable.numpy() for variable in self.trainer.changing_variables()
        ]
        for callback in self.with_memory:
            values += callback.get_state()
        position = epoch * self.feed.steps + step + done
        self.saved.save(position, header, values)

    def _restore(self, header, values):
        """Makes all as it was when the checkpoint was saved."""
        history = self.trainer.history
        history.history, history.epoch = header["history"], header["epochs"]
        now = self.trainer.changing_variables()
        for variable in now:
            variable.assign(_as(values.pop(0), variable.numpy()))
        for callback in self.with_memory:
            callback.set_state(
                [_as(values.pop(0), old) for old in callback.get_state()]
            )


def _as(values, like):
    """Bytes as an array like another.

    Raises:
        ValueError: where there are more or fewer bytes.
    """
    if values.size != like.nbytes:
        raise ValueError(
            "A checkpoint must be of the same job. Received: one of variables "
            "of other shapes."
        )
    return values.view(like.dtype).reshape(like.shape)
