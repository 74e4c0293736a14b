"""Flags of Adversarial Neuron Pruning as its paper has it."""

from absl import flags

flags.DEFINE_integer("steps", None, "Perturbation steps a batch; default 1.", 1)
flags.DEFINE_integer(
    "average_after",
    None,
    "Batches of ANP after which its masks are averaged; default: the last "
    "masks are taken, as in the paper.",
    0,
)
flags.DEFINE_float(
    "momentum", None, "Momentum of SGD on the masks; default 0.9.", 0.0, 1.0
)
flags.DEFINE_integer(
    "recovery_batch_size", None, "Images a batch of recovery; default 64.", 1
)
