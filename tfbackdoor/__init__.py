"""Finds and removes backdoors in Keras image classifiers."""

import importlib

from tfbackdoor.attacks import ATTACKS
from tfbackdoor.attacks import Poisoning
from tfbackdoor.attacks import Trigger
from tfbackdoor.attacks import make_trigger
from tfbackdoor.attacks import train_attacked
from tfbackdoor.data import augment
from tfbackdoor.data import from_arrays
from tfbackdoor.data import in_memory
from tfbackdoor.data import load_images
from tfbackdoor.data import split_images
from tfbackdoor.data import training_batches
from tfbackdoor.defend import DEFENSES
from tfbackdoor.defend import defend
from tfbackdoor.defenses import AdversarialNeuronPruning
from tfbackdoor.defenses import AttentionTransfer
from tfbackdoor.defenses import DefenseResult
from tfbackdoor.defenses import NeuralAttentionDistillation
from tfbackdoor.defenses import TriggerInversion
from tfbackdoor.defenses import attention_map
from tfbackdoor.defenses import choose_epsilon
from tfbackdoor.defenses import choose_threshold
from tfbackdoor.defenses import find_taps
from tfbackdoor.defenses import fine_tune
from tfbackdoor.defenses import prune_neurons
from tfbackdoor.defenses import pruning_curve
from tfbackdoor.defenses import self_distill
from tfbackdoor.evaluation import evaluate
from tfbackdoor.models import NETWORKS
from tfbackdoor.models import build_network
from tfbackdoor.models import load_pytorch_weights
from tfbackdoor.network import NeuronMask
from tfbackdoor.network import copy_classifier
from tfbackdoor.network import export_classifier
from tfbackdoor.network import find_neurons
from tfbackdoor.network import find_value_range
from tfbackdoor.network import load_classifier
from tfbackdoor.network import make_strategy
from tfbackdoor.network import set_seed
from tfbackdoor.purify import purify
from tfbackdoor.rates import Rate
from tfbackdoor.rates import Scores
from tfbackdoor.report import Report
from tfbackdoor.scan import Scan
from tfbackdoor.scan import scan
from tfbackdoor.training import resumable
from tfbackdoor.version import __version__ as __version__

__all__ = [
    # The whole story: is there a backdoor, take it out, how good is it now.
    "DEFENSES",
    "DefenseResult",
    "Rate",
    "Report",
    "Scan",
    "Scores",
    "defend",
    "evaluate",
    "purify",
    "scan",
    # Classifiers: read, copied, written, and what is known of them.
    "copy_classifier",
    "export_classifier",
    "find_neurons",
    "find_value_range",
    "load_classifier",
    "load_pytorch_weights",
    # Images: read, split, drawn in batches.
    "augment",
    "from_arrays",
    "in_memory",
    "load_images",
    "split_images",
    "training_batches",
    # Adversarial Neuron Pruning (Wu & Wang, NeurIPS 2021).
    "AdversarialNeuronPruning",
    "NeuronMask",
    "choose_epsilon",
    "choose_threshold",
    "prune_neurons",
    "pruning_curve",
    "self_distill",
    # Neural Attention Distillation (Li et al., ICLR 2021).
    "AttentionTransfer",
    "NeuralAttentionDistillation",
    "attention_map",
    "find_taps",
    "fine_tune",
    # Attacks: triggers given, found and trained with.
    "ATTACKS",
    "Poisoning",
    "Trigger",
    "TriggerInversion",
    "make_trigger",
    "train_attacked",
    # Architectures by name.
    "NETWORKS",
    "build_network",
    # Running: devices, seeds, checkpoints.
    "make_strategy",
    "resumable",
    "set_seed",
]


def __getattr__(name):
    """Loads the benchmark, which nothing else needs, when it is first used."""
    if name == "benchmark":
        return importlib.import_module("tfbackdoor.benchmark")
    raise AttributeError(f"module 'tfbackdoor' has no attribute {name!r}")
