"""Flags of `purify` that no single method has."""

from absl import flags

flags.DEFINE_bool(
    "always",
    None,
    "Purifies although the scan finds nothing, too; default false.",
)
SCAN_STEPS = flags.DEFINE_integer(
    "scan_steps",
    None,
    "Batches of the scan's patches; default 150, of purify 200.",
    1,
)
flags.DEFINE_float(
    "mask_rate", None, "Learning rate of ANP's masks; default 0.2.", 0.0
)
flags.DEFINE_float(
    "max_share",
    None,
    "Pixels of the patches that are unlearned, as a share; default 0.03.",
    1e-4,
    1.0,
)
flags.DEFINE_float(
    "max_opacity",
    None,
    "Opacity of the blends over all pixels that are unlearned, 0 for none; "
    "default 0.2.",
    0.0,
    1.0,
)
flags.DEFINE_float(
    "mixup", None, "Mixup of the recovery; default 0.5.", 0.0, 1.0
)
