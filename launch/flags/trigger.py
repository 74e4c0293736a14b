"""Flags of the attacker's trigger and class."""

from absl import flags

flags.DEFINE_string(
    "trigger",
    None,
    "The attack's trigger: a built-in one by name, or an .npz file with mask "
    "and pattern. train poisons with it in place of --attack's own; the "
    "others score by it in place of --poisoning.",
)
TARGET = flags.DEFINE_integer(
    "target",
    0,
    "The attacker's class (0 in ANP, 5 in NAD); read from --poisoning where "
    "no --trigger is given.",
    0,
)
