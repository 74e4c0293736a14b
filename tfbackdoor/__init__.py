"""Finds and removes backdoors in Keras image classifiers."""

from tfbackdoor.arrays import read_arrays
from tfbackdoor.attacks.poisoning import Poisoning
from tfbackdoor.attacks.poisoning import poison
from tfbackdoor.attacks.triggers import Trigger
from tfbackdoor.attacks.triggers import make_trigger
from tfbackdoor.augmentation import augment
from tfbackdoor.calibration import choose_augmentation
from tfbackdoor.calibration import choose_epsilon
from tfbackdoor.checkpoints import Stopped
from tfbackdoor.checkpoints import resumable
from tfbackdoor.classifiers import check_images
from tfbackdoor.classifiers import class_count
from tfbackdoor.classifiers import image_shape
from tfbackdoor.classifiers import load_classifier
from tfbackdoor.data import from_arrays
from tfbackdoor.data import load_images
from tfbackdoor.defenses.anp import AdversarialNeuronPruning
from tfbackdoor.defenses.attention import AttentionTransfer
from tfbackdoor.defenses.attention import attention_map
from tfbackdoor.defenses.attention import attention_maps
from tfbackdoor.defenses.attention import find_taps
from tfbackdoor.defenses.distillation import Distillation
from tfbackdoor.defenses.distillation import recover
from tfbackdoor.defenses.fine_tuning import copy_classifier
from tfbackdoor.defenses.fine_tuning import fine_tune
from tfbackdoor.defenses.nad import NeuralAttentionDistillation
from tfbackdoor.defenses.pruning import CurvePoint
from tfbackdoor.defenses.pruning import choose_threshold
from tfbackdoor.defenses.pruning import prune_neurons
from tfbackdoor.defenses.pruning import pruning_curve
from tfbackdoor.defenses.pruning import save_masks
from tfbackdoor.devices import default_precision
from tfbackdoor.devices import make_strategy
from tfbackdoor.devices import set_seed
from tfbackdoor.evaluation import AccuracyLoss
from tfbackdoor.evaluation import BackdoorScores
from tfbackdoor.evaluation import Rate
from tfbackdoor.evaluation import Scores
from tfbackdoor.evaluation import accuracy_loss
from tfbackdoor.evaluation import defence_effectiveness
from tfbackdoor.evaluation import evaluate
from tfbackdoor.evaluation import scores_table
from tfbackdoor.export import export_classifier
from tfbackdoor.figures import plot_attention
from tfbackdoor.figures import plot_curve
from tfbackdoor.figures import plot_masks
from tfbackdoor.figures import plot_samples
from tfbackdoor.inversion import InvertedTriggers
from tfbackdoor.inversion import TriggerInversion
from tfbackdoor.layers import FusedBatchNormalization
from tfbackdoor.layers import NeuronMask
from tfbackdoor.models.pytorch import load_pytorch_weights
from tfbackdoor.models.resnet import resnet18
from tfbackdoor.models.wide_resnet import wide_resnet
from tfbackdoor.neurons import find_neurons
from tfbackdoor.optimizers import CoupledSGD
from tfbackdoor.purify import purify
from tfbackdoor.report import Report
from tfbackdoor.report import suspicious_neurons
from tfbackdoor.sampling import count_classes
from tfbackdoor.sampling import in_memory
from tfbackdoor.sampling import split_images
from tfbackdoor.sampling import training_batches
from tfbackdoor.scanning import Scan
from tfbackdoor.scanning import scan
from tfbackdoor.training import ClassifierTraining
from tfbackdoor.training import StopOnNaN
from tfbackdoor.value_range import ValueRange
from tfbackdoor.value_range import find_value_range

__all__ = [
    "AccuracyLoss",
    "AdversarialNeuronPruning",
    "AttentionTransfer",
    "BackdoorScores",
    "ClassifierTraining",
    "CoupledSGD",
    "CurvePoint",
    "Distillation",
    "FusedBatchNormalization",
    "InvertedTriggers",
    "NeuralAttentionDistillation",
    "NeuronMask",
    "Poisoning",
    "Rate",
    "Report",
    "Scan",
    "Scores",
    "StopOnNaN",
    "Stopped",
    "Trigger",
    "TriggerInversion",
    "ValueRange",
    "accuracy_loss",
    "attention_map",
    "attention_maps",
    "augment",
    "check_images",
    "choose_augmentation",
    "choose_epsilon",
    "choose_threshold",
    "class_count",
    "copy_classifier",
    "count_classes",
    "default_precision",
    "defence_effectiveness",
    "evaluate",
    "export_classifier",
    "find_neurons",
    "find_taps",
    "find_value_range",
    "fine_tune",
    "from_arrays",
    "image_shape",
    "in_memory",
    "load_classifier",
    "load_images",
    "load_pytorch_weights",
    "make_strategy",
    "make_trigger",
    "plot_attention",
    "plot_curve",
    "plot_masks",
    "plot_samples",
    "poison",
    "prune_neurons",
    "pruning_curve",
    "purify",
    "read_arrays",
    "recover",
    "resnet18",
    "resumable",
    "save_masks",
    "scan",
    "scores_table",
    "set_seed",
    "split_images",
    "suspicious_neurons",
    "training_batches",
    "wide_resnet",
]
