"""Defenses: what takes a backdoor out of a classifier, one file per method.

`tfbackdoor.defend` purifies by any of them; the parts that methods share
 (pruning, attention, inversion, distillation) lie beside them.
"""

from tfbackdoor.defenses.adversarial_neuron_pruning import (
    AdversarialNeuronPruning,
)
from tfbackdoor.defenses.attention import AttentionTransfer
from tfbackdoor.defenses.attention import attention_map
from tfbackdoor.defenses.attention import attention_maps
from tfbackdoor.defenses.attention import find_taps
from tfbackdoor.defenses.bezier_curve import BezierCurve
from tfbackdoor.defenses.bezier_curve import choose_point
from tfbackdoor.defenses.bezier_curve import read_curve
from tfbackdoor.defenses.calibration import choose_augmentation
from tfbackdoor.defenses.calibration import choose_epsilon
from tfbackdoor.defenses.distillation import Distillation
from tfbackdoor.defenses.fine_pruning import DormantPruning
from tfbackdoor.defenses.fine_pruning import mean_activations
from tfbackdoor.defenses.fine_pruning import prune_dormant
from tfbackdoor.defenses.fine_tuning import fine_tune
from tfbackdoor.defenses.implicit_unlearning import ImplicitUnlearning
from tfbackdoor.defenses.inversion import TriggerInversion
from tfbackdoor.defenses.inverted_triggers import InvertedTriggers
from tfbackdoor.defenses.neural_attention_distillation import (
    NeuralAttentionDistillation,
)
from tfbackdoor.defenses.outcome_warnings import DefenseWarning
from tfbackdoor.defenses.pruning import CurvePoint
from tfbackdoor.defenses.pruning import choose_threshold
from tfbackdoor.defenses.pruning import prune_neurons
from tfbackdoor.defenses.pruning import pruning_curve
from tfbackdoor.defenses.pruning import save_masks
from tfbackdoor.defenses.rate_search import choose_learning_rate
from tfbackdoor.defenses.reconstructive_neuron_pruning import NeuronRecovery
from tfbackdoor.defenses.reconstructive_neuron_pruning import NeuronUnlearning
from tfbackdoor.defenses.result import DefenseResult
from tfbackdoor.defenses.self_distillation import self_distill
from tfbackdoor.defenses.sharpness_aware import SharpnessAwareTraining
from tfbackdoor.defenses.universal_perturbation import UniversalPerturbation

__all__ = [
    "AdversarialNeuronPruning",
    "AttentionTransfer",
    "BezierCurve",
    "CurvePoint",
    "DefenseResult",
    "DefenseWarning",
    "Distillation",
    "DormantPruning",
    "ImplicitUnlearning",
    "InvertedTriggers",
    "NeuralAttentionDistillation",
    "NeuronRecovery",
    "NeuronUnlearning",
    "SharpnessAwareTraining",
    "TriggerInversion",
    "UniversalPerturbation",
    "attention_map",
    "attention_maps",
    "choose_augmentation",
    "choose_epsilon",
    "choose_learning_rate",
    "choose_point",
    "choose_threshold",
    "find_taps",
    "fine_tune",
    "mean_activations",
    "prune_dormant",
    "prune_neurons",
    "pruning_curve",
    "read_curve",
    "save_masks",
    "self_distill",
]
