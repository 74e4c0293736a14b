"""Flags of ANP, of purify and of what follows pruning."""

from absl import flags

flags.DEFINE_float(
    "held_out",
    None,
    "Share of the clean images that judges, not optimises; default 0.2.",
    0.01,
    0.9,
)
flags.DEFINE_float(
    "epsilon",
    None,
    "Largest relative perturbation of a neuron; default 0.4 as in the paper, "
    "in purify calibrated on the clean images.",
    0.0,
)
flags.DEFINE_float(
    "alpha",
    None,
    "Weight of the clean loss; default 0.2 as in the paper.",
    0.0,
    1.0,
)
flags.DEFINE_integer(
    "iterations",
    None,
    "Batches of ANP; default 2000 as in the paper, in purify 300.",
    1,
)
flags.DEFINE_float(
    "max_accuracy_drop",
    None,
    "Clean accuracy on held-out images that pruning may cost; default 0.03; in "
    "purify, and in hardening, what that may cost; default 0.02.",
    0.0,
    1.0,
)
flags.DEFINE_float(
    "threshold",
    None,
    "Pruning threshold; default chosen on the held-out clean images.",
    0.0,
    1.0,
)
flags.DEFINE_integer(
    "recovery_steps",
    None,
    "Batches of self-distillation afterwards, which win accuracy back, 0 for "
    "none; default 0 as in the paper (300 allow a --max_accuracy_drop of "
    "0.15); in purify they unlearn triggers; default 500.",
    0,
)
flags.DEFINE_float(
    "recovery_rate",
    None,
    "Their learning rate at the start; default 0.01, in purify, by Adam, "
    "0.0003.",
    0.0,
)
