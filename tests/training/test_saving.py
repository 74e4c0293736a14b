"""Trainers saved as .keras files and loaded again, ready to go on."""

import keras
import numpy as np
import pytest
import specimens

import tfbackdoor
from tfbackdoor.training import classifier_training


def _classifier():
    return specimens.build("preprocessed")


def _anp():
    anp = tfbackdoor.AdversarialNeuronPruning(_classifier(), epsilon=0.1)
    anp.masks[0].neuron_mask.assign(np.linspace(0.1, 0.9, 6))
    return anp


def _training():
    return classifier_training.ClassifierTraining(
        specimens.build("subclassed"), train_frozen=False
    )


def _nad():
    return tfbackdoor.NeuralAttentionDistillation(
        specimens.build("functional"), specimens.build_teacher()
    )


def _distillation():
    student = _classifier()
    inversion = tfbackdoor.TriggerInversion(student, [1, 2])
    inversion.compile()
    return tfbackdoor.defenses.Distillation(
        student, specimens.build("nested"), inversion=inversion, mixup=0.2
    )


def _inversion():
    return tfbackdoor.TriggerInversion(_classifier(), [0, 3], seed=3)


def _curve():
    return tfbackdoor.defenses.BezierCurve(
        specimens.build("functional"), specimens.build_teacher()
    )


def _perturbation():
    return tfbackdoor.defenses.UniversalPerturbation(_classifier(), norm=3.0)


def _unlearning():
    classifier = specimens.build("functional")
    perturbation = tfbackdoor.defenses.UniversalPerturbation(classifier)
    perturbation.pattern.assign(np.full((8, 8, 3), 0.1))
    return tfbackdoor.defenses.ImplicitUnlearning(classifier, perturbation)


def _recovery():
    return tfbackdoor.defenses.NeuronRecovery(_classifier(), alpha=0.5)


@pytest.mark.parametrize(
    "make",
    [
        _anp,
        _training,
        _nad,
        _distillation,
        _inversion,
        _curve,
        _perturbation,
        _unlearning,
        _recovery,
    ],
)
def test_a_saved_trainer_is_loaded_compiled_and_learns_the_same(tmp_path, make):
    trainer = make()
    trainer.compile(run_eagerly=True)
    images, labels = specimens.batch(8)
    trainer.train_on_batch(images, labels)
    trainer.save(tmp_path / "trainer.keras")
    loaded = keras.models.load_model(tmp_path / "trainer.keras")
    assert type(loaded) is type(trainer)
    np.testing.assert_allclose(loaded(images), trainer(images), atol=1e-5)
    assert int(loaded.optimizer.iterations) == 1
    for model in (trainer, loaded):
        model.reset_metrics()
    logs = [
        model.train_on_batch(images, labels, return_dict=True)
        for model in (trainer, loaded)
    ]
    assert logs[1] == pytest.approx(logs[0], rel=1e-4)
    for old, new in zip(trainer.variables, loaded.variables, strict=True):
        np.testing.assert_allclose(old, new, atol=1e-5)
