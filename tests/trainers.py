"""All trainers, a few steps each, on whatever replicas are in scope.

    python tests/trainers.py OUT.npz REPLICAS

trains on so many logical CPUs, or as a worker of `TF_CONFIG`, and writes what
was learned.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import specimens
import tensorflow as tf

import tfbackdoor

_GLOBAL_BATCH = 16


def train_all(strategy) -> dict[str, np.ndarray]:
    """From trainer to all that it learned, `(numbers,)`."""
    found = {}
    for trainer in (_backdoored, _masks, _purified, _distilled):
        tfbackdoor.set_seed(0)
        with strategy.scope():
            arrays, loss = trainer()
        numbers = [array.reshape(-1) for array in arrays]
        found[trainer.__name__] = np.concatenate([*numbers, loss])
    return found


def batches(**settings):
    """Three shuffled global batches."""
    images = tfbackdoor.from_arrays(*specimens.batch(3 * _GLOBAL_BATCH))
    return tfbackdoor.training_batches(
        images, _GLOBAL_BATCH, seed=1, **settings
    )


def _fit(trainer, data, **settings):
    return trainer.fit(data, verbose=0, **settings).history["loss"]


def _backdoored():
    classifier = specimens.build("functional")
    trainer = tfbackdoor.training.ClassifierTraining(classifier)
    trainer.compile(tfbackdoor.training.CoupledSGD(0.05))
    loss = _fit(trainer, batches(), epochs=2)
    return classifier.get_weights(), loss


def _masks():
    trainer = tfbackdoor.AdversarialNeuronPruning(
        specimens.build("functional"), steps=2
    )
    trainer.compile()
    loss = _fit(trainer, batches(replacement=True), steps_per_epoch=3)
    return list(trainer.neuron_masks().values()), loss


def _purified():
    student = specimens.build("functional")
    trainer = tfbackdoor.NeuralAttentionDistillation(
        student, specimens.build_teacher(), betas=(5.0, 10.0)
    )
    trainer.compile(tfbackdoor.training.CoupledSGD(0.01, nesterov=True))
    loss = _fit(trainer, batches(), epochs=1)
    return student.get_weights(), loss


def _distilled():
    student = specimens.build("functional")
    trainer = tfbackdoor.defenses.Distillation(
        student, specimens.build("subclassed")
    )
    trainer.compile(tfbackdoor.training.CoupledSGD(0.05))
    loss = _fit(trainer, batches())
    return student.get_weights(), loss


def main(out, replicas):
    if "TF_CONFIG" not in os.environ:
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0],
            [tf.config.LogicalDeviceConfiguration()] * int(replicas),
        )
    strategy = tfbackdoor.make_strategy(
        "multi_worker" if "TF_CONFIG" in os.environ else "mirrored"
    )
    assert strategy.num_replicas_in_sync == int(replicas)
    np.savez(out, **train_all(strategy))


if __name__ == "__main__":
    main(*sys.argv[1:])
