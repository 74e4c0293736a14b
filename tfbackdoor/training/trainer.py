"""The `fit` of this package's models: resumable, on one or many machines."""

import math

import keras
import tensorflow as tf

from tfbackdoor.data import class_numbers
from tfbackdoor.network import compute_view
from tfbackdoor.network import devices
from tfbackdoor.network import first_batch
from tfbackdoor.training import checkpoints
from tfbackdoor.training import feeding
from tfbackdoor.training import optimizers
from tfbackdoor.training import progress
from tfbackdoor.training import resumable_fit


class Trainer(keras.Model):
    """A Keras model whose `fit` can be killed, and run on many machines.

    `fit` is Keras' own, callbacks and all keywords, except in two cases, where
    the loop is that of `resumable_fit` and takes fewer keywords:

    - within `resumable`, to save checkpoints and go on from them;
    - under `MultiWorkerMirroredStrategy`, where Keras 3.15 fails on scalar
      metrics: those of all replicas are averaged.

    Both give the same batches, on any number of replicas. Where the output is
    no terminal, `verbose="auto"` is one line per epoch.
    """

    def compile(self, optimizer="rmsprop", **settings):
        """As Keras' `compile`."""
        super().compile(optimizer, **settings)
        optimizers.spare_sums(self.optimizer)

    def compile_from_config(self, config):
        """Compiles what was loaded; Keras' own would only warn."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def fit(self, x=None, y=None, **settings):
        """As Keras' `fit`.

        Labels are whole numbers of any type, `()` or `(1,)` an image, or
        one-hot, unless `compile` was given a loss of others.

        Raises:
            ValueError: on labels of another form; within `resumable` or where
                several workers train, on anything but a `tf.data.Dataset` of
                known cardinality, and on keywords other than
                `resumable_fit.KEYWORDS`.
        """
        if self._asks_for_class_numbers and hasattr(self, "classifier"):
            first_batch.check_labels(self.classifier, x, y)
        verbose = progress.verbosity(settings.pop("verbose", "auto"))
        job = checkpoints.current_job()
        spans_workers = devices.spans_workers(self.distribute_strategy)
        if not self.compiled or (job is None and not spans_workers):
            if isinstance(x, tf.data.Dataset):
                x = feeding.untuned(x)
                settings.setdefault("shuffle", False)
            return super().fit(x, y, verbose=verbose, **settings)
        resumable_fit.check(x, y, settings)
        job = job or checkpoints.Job(None, math.inf)
        with job.fit() as saved, self.distribute_strategy.scope():
            return resumable_fit.ResumableFit(
                self, saved, x, verbose=verbose, **settings
            ).run()

    def compute_loss(self, x=None, y=None, y_pred=None, *args, **settings):
        """As Keras' own, of labels in any form."""
        y = self._class_numbers(y, y_pred)
        return super().compute_loss(x, y, y_pred, *args, **settings)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """As Keras' own, of labels in any form."""
        y = self._class_numbers(y, y_pred)
        return super().compute_metrics(x, y, y_pred, sample_weight)

    @property
    def _asks_for_class_numbers(self):
        loss = getattr(self, "loss", None)
        return isinstance(loss, keras.losses.SparseCategoricalCrossentropy)

    def _class_numbers(self, labels, scores):
        """The numbers of classes, where the loss asks for them."""
        asks = self._asks_for_class_numbers
        if not asks or labels is None:
            return labels
        shape, dtype = tf.TensorShape(labels.shape), tf.as_dtype(labels.dtype)
        if shape.rank is None:
            return labels
        class_numbers.check_kind(shape[1:], dtype, scores.shape[-1], "y")
        return class_numbers.of_labels(labels)

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

    def make_metrics(self, element_spec) -> None:
        """Makes the variables of metrics, which replicas cannot make.

        Args:
            element_spec: of the batches.
        """
        if self.distribute_strategy.num_replicas_in_sync > 1:
            # No public name makes them without a batch.
            with self.distribute_strategy.scope():
                self._symbolic_build(data_batch=element_spec)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """In place of Keras' own, which draws a batch to know its shapes.

        After that a data set that shuffles gives replicas other batches than
        it gives one device.
        """
        if iterator is not None:
            data_batch = iterator.data_adapter.get_tf_dataset().element_spec
        self.make_metrics(data_batch)

    def changing_variables(self) -> list:
        """All variables that a fit changes, each once."""
        metrics = [v for metric in self.metrics for v in metric.variables]
        variables = [*self.variables, *metrics]
        for part in vars(self).values():
            if isinstance(part, compute_view.ComputeView):
                variables += part.own_state
            elif isinstance(part, keras.optimizers.Optimizer):
                variables += part.variables
            elif isinstance(part, Trainer):
                variables += part.changing_variables()
        found = {id(variable): variable for variable in variables}
        if devices.spans_workers(self.distribute_strategy):
            # To read those takes all workers, and an epoch's end needs none.
            for metric in metrics:
                found.pop(id(metric), None)
        return list(found.values())


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
