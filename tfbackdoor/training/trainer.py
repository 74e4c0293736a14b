"""The `fit` of this package's models: resumable, on one or many machines."""

import math

import keras
import tensorflow as tf

from tfbackdoor.network import compute_view
from tfbackdoor.network import devices
from tfbackdoor.training import checkpoints
from tfbackdoor.training import feeding
from tfbackdoor.training import optimizers

_RESUMABLE = {
    "callbacks",
    "epochs",
    "shuffle",
    "steps_per_epoch",
    "validation_data",
    "verbose",
}


class Trainer(keras.Model):
    """A Keras model whose `fit` can be killed, and run on many machines.

    Keras' own on whatever is not a `tf.data.Dataset` of known cardinality. On
    those the loop is ours and gives the same on one device, bit by bit, but

    - within `resumable` it saves checkpoints and goes on from them;
    - it makes the same iterators on any number of replicas, so that a data
      set that shuffles gives the same batches;
    - it runs under `MultiWorkerMirroredStrategy`, where Keras 3.15 fails on
      scalar metrics: those of all replicas are averaged.
    """

    def compile(self, optimizer="rmsprop", **settings):
        """As Keras' `compile`."""
        super().compile(optimizer, **settings)
        optimizers.spare_sums(self.optimizer)

    def fit(self, x=None, y=None, **settings):
        """As Keras' `fit`.

        Raises:
            ValueError: where several workers train on anything but a
                `tf.data.Dataset`.
        """
        spans_workers = devices.spans_workers(self.distribute_strategy)
        if not (self.compiled and _can_resume(x, y, settings)):
            if not spans_workers:
                return super().fit(x, y, **settings)
            raise ValueError(
                "`x` must be a tf.data.Dataset of known cardinality where "
                "several workers train, and of the settings only "
                f"{sorted(_RESUMABLE)} be given. Received: {type(x).__name__}, "
                f"{sorted(settings)}"
            )
        settings.pop("shuffle", None)  # Means nothing for a data set.
        job = checkpoints.current_job() or checkpoints.Job(None, math.inf)
        with job.fit() as saved, self.distribute_strategy.scope():
            return _Fit(self, saved, x, **settings).run()

    def make_train_function(self, force=False):
        """As Keras' own, but for several workers."""
        if devices.spans_workers(self.distribute_strategy):
            self.train_function = _across_workers(self, self.train_step)
        else:
            super().make_train_function(force)

    def make_test_function(self, force=False):
        """As Keras' own, but for several workers."""
        if devices.spans_workers(self.distribute_strategy):
            self.test_function = _across_workers(self, self.test_step)
        else:
            super().make_test_function(force)


def _across_workers(trainer, step_function):
    """A step on an iterator's next batch; gives the mean of scalar logs."""
    strategy = trainer.distribute_strategy

    @tf.function(reduce_retracing=True)
    def step(iterator):
        logs = strategy.run(step_function, args=(next(iterator),))
        return {
            name: strategy.reduce("MEAN", value, axis=None)
            for name, value in logs.items()
        }

    return step


def _can_resume(x, y, settings):
    """Whether the batches of a fit are the same at another start."""
    return (
        isinstance(x, tf.data.Dataset)
        and y is None
        and set(settings) <= _RESUMABLE
        and not isinstance(settings.get("validation_data"), (tuple, list))
        and (settings.get("steps_per_epoch") or int(x.cardinality()) > 0)
    )


class _Fit:
    """One fit with checkpoints; the loop is that of Keras' `fit`.

    A callback with `get_state()`, a list of arrays, and `set_state(arrays)` has
    its memory saved too.

    Args:
        trainer: compiled `Trainer`.
        saved: its `FitCheckpoints`.
        x, epochs, steps_per_epoch, validation_data, callbacks, verbose: as in
            Keras' `fit`.
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
        verbose="auto",
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
        if trainer.distribute_strategy.num_replicas_in_sync > 1:
            # Metrics cannot be made within replicas, and only this makes them.
            trainer._symbolic_build(data_batch=self.feed.element_spec)
        trainer.stop_training = False
        trainer.make_train_function()
        self.callbacks.on_train_begin()
        found = self.saved.load()
        first, step = 0, 0
        if found:
            header, values = found
            first, step = header["epoch"], header["step"]
            self.feed.seek(first, step)
            if header["done"] or not step:
                self._restore(header, values)
            if header["done"]:
                return trainer.history
        for epoch in range(first, self.epochs):
            trainer.reset_metrics()
            self.callbacks.on_epoch_begin(epoch)
            if step:
                self._restore(header, values)
            self._run_epoch(epoch, step)
            if trainer.stop_training:
                break
            step = 0
            if epoch + 1 < self.epochs:
                self._save_if_due(epoch + 1, 0)
        trainer.optimizer.finalize_variable_values(trainer.trainable_weights)
        self.callbacks.on_train_end()
        if self.saved.worth_keeping():
            self._save(epoch + 1, 0, done=True)
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
        values = [variable.numpy() for variable in _state(self.trainer)]
        for callback in self.with_memory:
            values += callback.get_state()
        position = epoch * self.feed.steps + step + done
        self.saved.save(position, header, values)

    def _restore(self, header, values):
        """Makes all as it was when the checkpoint was saved."""
        history = self.trainer.history
        history.history, history.epoch = header["history"], header["epochs"]
        now = _state(self.trainer)
        for variable in now:
            variable.assign(_as(values.pop(0), variable.numpy()))
        for callback in self.with_memory:
            callback.set_state(
                [_as(values.pop(0), old) for old in callback.get_state()]
            )


def _state(trainer):
    """All variables that a fit changes, each once."""
    metrics = [v for metric in trainer.metrics for v in metric.variables]
    variables = [*trainer.variables, *metrics]
    for part in vars(trainer).values():
        if isinstance(part, compute_view.ComputeView):
            variables += part.own_state
        elif isinstance(part, keras.optimizers.Optimizer):
            variables += part.variables
        elif isinstance(part, Trainer):
            variables += _state(part)
    found = {id(variable): variable for variable in variables}
    if devices.spans_workers(trainer.distribute_strategy):
        # To read those needs all workers, and an epoch's end needs them not.
        for metric in metrics:
            found.pop(id(metric), None)
    return list(found.values())


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
