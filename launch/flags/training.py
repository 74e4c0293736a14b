"""Flags of how a network, or its neuron masks, are trained."""

from absl import flags

flags.DEFINE_integer("epochs", None, "Epochs; default 200, in nad 10.", 1)
BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", None, "Images a step; default 128, in nad 64.", 1
)
LEARNING_RATE = flags.DEFINE_float(
    "learning_rate",
    None,
    "Learning rate at the start; default 0.1, of anp's masks 0.2.",
    0.0,
)
flags.DEFINE_float(
    "weight_decay", None, "Weight decay; default 0.0005, in nad 0.0001.", 0.0
)
SYNCHRONISED = flags.DEFINE_bool(
    "synchronised",
    None,
    "Whether batch statistics are those of the whole batch, not each device's; "
    "default true.",
)
TRAIN_FROZEN = flags.DEFINE_bool(
    "train_frozen",
    None,
    "Whether layers that are saved as not trainable are trained too; default "
    "true.",
)
