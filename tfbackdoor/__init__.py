"""Finds and removes backdoors in Keras image classifiers."""

from tfbackdoor.analysis import activation_gap
from tfbackdoor.analysis import embed
from tfbackdoor.analysis import penultimate_features
from tfbackdoor.arrays import read_arrays
from tfbackdoor.attacks.adversarial import LinfPerturbation
from tfbackdoor.attacks.adversarial import perturb_images
from tfbackdoor.attacks.dynamic_masks import MaskTraining
from tfbackdoor.attacks.generators import GeneratedTrigger
from tfbackdoor.attacks.input_aware import InputAwareTraining
from tfbackdoor.attacks.poisoning import Poisoning
from tfbackdoor.attacks.poisoning import poison
from tfbackdoor.attacks.recipes import ATTACKS
from tfbackdoor.attacks.recipes import Attack
from tfbackdoor.attacks.recipes import train_attacked
from tfbackdoor.attacks.reflection_search import choose_reflections
from tfbackdoor.attacks.refool import Reflections
from tfbackdoor.attacks.refool import make_reflections
from tfbackdoor.attacks.triggers import Trigger
from tfbackdoor.attacks.triggers import make_trigger
from tfbackdoor.attacks.trojan import make_trojan_trigger
from tfbackdoor.augmentation import augment
from tfbackdoor.benchmarking.figures import plot_shares
from tfbackdoor.benchmarking.grid import plan_grid
from tfbackdoor.benchmarking.grid import run_grid
from tfbackdoor.benchmarking.work import Benchmark
from tfbackdoor.calibration import choose_augmentation
from tfbackdoor.calibration import choose_epsilon
from tfbackdoor.checkpoints import Stopped
from tfbackdoor.checkpoints import resumable
from tfbackdoor.classifiers import check_images
from tfbackdoor.classifiers import class_count
from tfbackdoor.classifiers import image_shape
from tfbackdoor.data import from_arrays
from tfbackdoor.data import image_tracks
from tfbackdoor.data import load_images
from tfbackdoor.defenses.anp import AdversarialNeuronPruning
from tfbackdoor.defenses.attention import AttentionTransfer
from tfbackdoor.defenses.attention import attention_map
from tfbackdoor.defenses.attention import attention_maps
from tfbackdoor.defenses.attention import find_taps
from tfbackdoor.defenses.conditions import Defended
from tfbackdoor.defenses.distillation import Distillation
from tfbackdoor.defenses.fine_pruning import DormantPruning
from tfbackdoor.defenses.fine_pruning import mean_activations
from tfbackdoor.defenses.fine_pruning import prune_dormant
from tfbackdoor.defenses.fine_tuning import copy_classifier
from tfbackdoor.defenses.fine_tuning import fine_tune
from tfbackdoor.defenses.mode_connectivity import BezierCurve
from tfbackdoor.defenses.mode_connectivity import choose_point
from tfbackdoor.defenses.mode_connectivity import read_curve
from tfbackdoor.defenses.nad import NeuralAttentionDistillation
from tfbackdoor.defenses.pruning import CurvePoint
from tfbackdoor.defenses.pruning import choose_threshold
from tfbackdoor.defenses.pruning import prune_neurons
from tfbackdoor.defenses.pruning import pruning_curve
from tfbackdoor.defenses.pruning import save_masks
from tfbackdoor.defenses.rate_search import choose_learning_rate
from tfbackdoor.defenses.recipes import DEFENCES
from tfbackdoor.defenses.recipes import check_defence
from tfbackdoor.defenses.recipes import defend
from tfbackdoor.defenses.recovery import recover
from tfbackdoor.devices import default_precision
from tfbackdoor.devices import make_strategy
from tfbackdoor.devices import set_seed
from tfbackdoor.evaluation import BackdoorScores
from tfbackdoor.evaluation import evaluate
from tfbackdoor.export import export_classifier
from tfbackdoor.figures import plot_attention
from tfbackdoor.figures import plot_attention_rows
from tfbackdoor.figures import plot_curve
from tfbackdoor.figures import plot_embedding
from tfbackdoor.figures import plot_gap
from tfbackdoor.figures import plot_masks
from tfbackdoor.figures import plot_samples
from tfbackdoor.gathering import error_shares
from tfbackdoor.inversion import TriggerInversion
from tfbackdoor.inverted_triggers import InvertedTriggers
from tfbackdoor.layers import FusedBatchNormalization
from tfbackdoor.layers import NeuronMask
from tfbackdoor.loading import load_classifier
from tfbackdoor.models.mobilenet import mobilenet_v2
from tfbackdoor.models.networks import NETWORKS
from tfbackdoor.models.networks import build_network
from tfbackdoor.models.pytorch import load_pytorch_weights
from tfbackdoor.models.resnet import preact_resnet18
from tfbackdoor.models.resnet import resnet18
from tfbackdoor.models.resnet import resnet34
from tfbackdoor.models.resnet import resnet50
from tfbackdoor.models.resnet import resnet101
from tfbackdoor.models.resnet import resnet152
from tfbackdoor.models.vgg import vgg19
from tfbackdoor.models.wide_resnet import wide_resnet
from tfbackdoor.neurons import find_neurons
from tfbackdoor.optimizers import CoupledSGD
from tfbackdoor.purification import PurifySettings
from tfbackdoor.purify import purify
from tfbackdoor.rates import AccuracyLoss
from tfbackdoor.rates import Rate
from tfbackdoor.rates import Scores
from tfbackdoor.rates import accuracy_loss
from tfbackdoor.rates import defence_effectiveness
from tfbackdoor.rates import scores_table
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
from tfbackdoor.training import TrainingDivergedError
from tfbackdoor.value_range import ValueRange
from tfbackdoor.value_range import find_value_range

__all__ = [
    "ATTACKS",
    "DEFENCES",
    "NETWORKS",
    "AccuracyLoss",
    "AdversarialNeuronPruning",
    "Attack",
    "AttentionTransfer",
    "BackdoorScores",
    "Benchmark",
    "BezierCurve",
    "ClassifierTraining",
    "CoupledSGD",
    "CurvePoint",
    "Defended",
    "Distillation",
    "DormantPruning",
    "FusedBatchNormalization",
    "GeneratedTrigger",
    "InputAwareTraining",
    "InvertedTriggers",
    "LinfPerturbation",
    "MaskTraining",
    "NeuralAttentionDistillation",
    "NeuronMask",
    "Poisoning",
    "PurifySettings",
    "Rate",
    "Reflections",
    "Report",
    "Scan",
    "Scores",
    "StopOnNaN",
    "Stopped",
    "TrainingDivergedError",
    "Trigger",
    "TriggerInversion",
    "ValueRange",
    "accuracy_loss",
    "activation_gap",
    "attention_map",
    "attention_maps",
    "augment",
    "build_network",
    "check_defence",
    "check_images",
    "choose_augmentation",
    "choose_epsilon",
    "choose_learning_rate",
    "choose_point",
    "choose_reflections",
    "choose_threshold",
    "class_count",
    "copy_classifier",
    "count_classes",
    "default_precision",
    "defence_effectiveness",
    "defend",
    "embed",
    "error_shares",
    "evaluate",
    "export_classifier",
    "find_neurons",
    "find_taps",
    "find_value_range",
    "fine_tune",
    "from_arrays",
    "image_shape",
    "image_tracks",
    "in_memory",
    "load_classifier",
    "load_images",
    "load_pytorch_weights",
    "make_reflections",
    "make_strategy",
    "make_trigger",
    "make_trojan_trigger",
    "mean_activations",
    "mobilenet_v2",
    "penultimate_features",
    "perturb_images",
    "plan_grid",
    "plot_attention",
    "plot_attention_rows",
    "plot_curve",
    "plot_embedding",
    "plot_gap",
    "plot_masks",
    "plot_samples",
    "plot_shares",
    "poison",
    "preact_resnet18",
    "prune_dormant",
    "prune_neurons",
    "pruning_curve",
    "purify",
    "read_arrays",
    "read_curve",
    "recover",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resumable",
    "run_grid",
    "save_masks",
    "scan",
    "scores_table",
    "set_seed",
    "split_images",
    "suspicious_neurons",
    "train_attacked",
    "training_batches",
    "vgg19",
    "wide_resnet",
]
