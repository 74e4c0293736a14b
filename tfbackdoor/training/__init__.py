"""Training: the trainer, its checkpoints, settings and optimisers.

Every method of this package that trains is a `Trainer`: `compile` and `fit` as
with Keras, resumable within `resumable`.
"""

from tfbackdoor.training.checkpoints import Stopped
from tfbackdoor.training.checkpoints import resumable
from tfbackdoor.training.checkpoints import stop
from tfbackdoor.training.classifier_training import ClassifierTraining
from tfbackdoor.training.classifier_training import StopOnNaN
from tfbackdoor.training.classifier_training import TrainingDivergedError
from tfbackdoor.training.fitting import fit_classifier
from tfbackdoor.training.optimizers import CoupledSGD
from tfbackdoor.training.run_settings import RunSettings

__all__ = [
    "ClassifierTraining",
    "CoupledSGD",
    "RunSettings",
    "StopOnNaN",
    "Stopped",
    "TrainingDivergedError",
    "fit_classifier",
    "resumable",
    "stop",
]
