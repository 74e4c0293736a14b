"""Flags of how training images are augmented."""

from absl import flags

flags.DEFINE_bool(
    "flip",
    None,
    "Whether images are mirrored at random, which digits and traffic signs "
    "must not be; default true, in purify where the classifier tolerates it.",
)
flags.DEFINE_integer(
    "padding",
    None,
    "Pixels around images that are cropped at random; default 4, in purify "
    "as many as the classifier tolerates.",
    0,
)
