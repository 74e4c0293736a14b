"""Flags of the commands that purify by one defense of the papers."""

from absl import flags

from . import attack
from . import augmentation
from . import classifier
from . import clean_images
from . import export
from . import given
from . import training

flags.DEFINE_bool(
    "augment",
    True,
    "Whether clean images are augmented as in the papers; --noaugment is "
    "--noflip --padding=0, and in nad --cutout_holes=0.",
)

FLAGS = flags.FLAGS
for _concern in (attack, augmentation, classifier, clean_images, export):
    flags.adopt_module_key_flags(_concern)
for _flag in (training.SYNCHRONISED, training.TRAIN_FROZEN):
    flags.declare_key_flag(_flag)


def settings() -> dict:
    """What the flags say to any defense, where they say anything."""
    found = {"flip": False, "padding": 0}
    if FLAGS.augment:
        found = given(augmentation)
    for flag in (training.SYNCHRONISED, training.TRAIN_FROZEN):
        if flag.value is not None:
            found[flag.name] = flag.value
    return found
