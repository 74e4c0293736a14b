"""Flags of Neural Attention Distillation."""

from absl import flags

flags.DEFINE_integer(
    "teacher_epochs", None, "Epochs of the teacher; default 10 (5-10).", 1
)
flags.DEFINE_float(
    "teacher_rate",
    None,
    "Learning rate of the teacher at the start; default 0.1.",
    0.0,
)
flags.DEFINE_integer(
    "folds",
    None,
    "Parts of the clean images, each judged by what the others taught; "
    "default 2.",
    2,
)
flags.DEFINE_float(
    "decay_factor",
    None,
    "What multiplies the learning rate ...; default 0.1.",
    0.0,
    1.0,
)
flags.DEFINE_integer(
    "decay_every", None, "... after so many epochs; default 2.", 1
)
flags.DEFINE_list(
    "taps",
    None,
    "Layers whose attention is distilled, from high to low resolution; "
    "default the last residual sum, or feature map, of each of the three "
    "smallest resolutions.",
)
flags.DEFINE_float("power", None, "p of the attention maps; default 2.", 0.0)
flags.DEFINE_integer("cutout_holes", None, "Holes of Cutout; default 1.", 0)
flags.DEFINE_integer(
    "cutout_length", None, "Side of a hole, in pixels; default 9.", 1
)
