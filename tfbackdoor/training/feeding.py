"""The batches of a fit, from any position on and for any replicas."""

import tensorflow as tf

from tfbackdoor.network import devices


class Feed:
    """Batches from any position on, the same ones as at another start.

    A data set that shuffles or augments by a seed draws anew for each
    iterator; so epochs that are skipped still get theirs, which costs
    milliseconds. Like Keras' `fit`, and to give the same batches, it makes an
    iterator at the start of an epoch and one at its end.

    Args:
        trainer: compiled model, which `seek` makes a step with.
        dataset: batched data set.
        steps_per_epoch: int, batches of an epoch of one endless stream, or
            None for epochs of the whole data set, of known cardinality.
    """

    def __init__(self, trainer, dataset, steps_per_epoch):
        count = int(dataset.cardinality())
        self._endless = steps_per_epoch is not None
        if self._endless and count != tf.data.INFINITE_CARDINALITY:
            dataset = dataset.repeat()
        self.steps = steps_per_epoch or count
        self.element_spec = dataset.element_spec
        self._trainer = trainer
        self._batches = _distributed(
            untuned(dataset), trainer.distribute_strategy
        )
        self.iterator = iter(self._batches) if self._endless else None

    def begin_epoch(self):
        """Makes `iterator` that of the next epoch."""
        if not self._endless:
            self.iterator = iter(self._batches)

    end_epoch = begin_epoch

    def seek(self, epoch, step):
        """Goes to batch `step` of `epoch`, as if all before it were done.

        One batch before it is trained on, to make the variables that the
        first step makes; restoring all variables undoes the rest.
        """
        for _ in range(epoch):
            self.begin_epoch()
            self.end_epoch()
        if step:
            self.begin_epoch()
        skipped = epoch * self.steps + step if self._endless else step
        for _ in range(skipped - self._trainer.steps_per_execution):
            next(self.iterator)
        self._trainer.train_function(self.iterator)


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The same batches, without TensorFlow's tuning of the pipeline.

    Its thread may sleep through the end of an iterator, and the fit then waits
    for it, up to as long as it has run before (TensorFlow 2.21).
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def _distributed(dataset, strategy):
    """Each replica's part of each batch.

    TensorFlow's own sharding gives several workers other batches than one
    device has; here every worker reads all and keeps its rows.
    """
    if not devices.spans_workers(strategy):
        return strategy.experimental_distribute_dataset(dataset)

    def of_worker(context):
        replicas = context.num_replicas_in_sync
        here = replicas // context.num_input_pipelines
        first = context.input_pipeline_id * here

        def rows(replica, *batch):
            count = tf.shape(batch[0], tf.int64)[0]
            start = replica * count // replicas
            end = (replica + 1) * count // replicas
            return tuple(part[start:end] for part in batch)

        def of_replicas(*batch):
            numbers = tf.data.Dataset.range(first, first + here)
            return numbers.map(lambda replica: rows(replica, *batch))

        return dataset.flat_map(of_replicas)

    return strategy.distribute_datasets_from_function(of_worker)
