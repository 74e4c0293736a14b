"""The flag of the commands that can try the retuning attack."""

from absl import flags

flags.DEFINE_bool(
    "retune",
    None,
    "Scores a copy, too, that was fine-tuned for five epochs on clean images "
    "of which five are poisoned, with --trigger or --poisoning; evaluate takes "
    "1,000 images by default. Default false.",
)
