"""Flags of `purify` that no single method has."""

from absl import flags

flags.DEFINE_bool(
    "only_if_found",
    None,
    "Leaves a classifier in which the scan finds nothing as it is; default "
    "false.",
)
flags.DEFINE_bool("prune", None, "Prunes neurons by ANP first; default false.")
flags.DEFINE_integer(
    "hardening_steps",
    None,
    "Batches of hardening, 0 for none; default 100.",
    0,
)
flags.DEFINE_float(
    "hardening_rate",
    None,
    "Learning rate of hardening at the start; default 0.03.",
    0.0,
)
flags.DEFINE_float(
    "max_strength",
    None,
    "Strength of hardening at most, in (0, 1]; default 1 where the scan says "
    "backdoored, else 0.5.",
    1e-4,
    1.0,
)
SCAN_STEPS = flags.DEFINE_integer(
    "scan_steps",
    None,
    "Batches of the scan's patches; default 150.",
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
    "mixup", None, "Mixup of what unlearns; default 0.5.", 0.0, 1.0
)
