"""Attacks: what puts a backdoor into a classifier, one file per attack.

`ATTACKS` is the table of them and `train_attacked` trains by any; a
`Poisoning` says what was poisoned, which is what scoring needs.
"""

from tfbackdoor.attacks.adaptive_blend import MaskedBlend
from tfbackdoor.attacks.bpp import Dithering
from tfbackdoor.attacks.clean_label import LinfPerturbation
from tfbackdoor.attacks.clean_label import perturb_images
from tfbackdoor.attacks.dynamic_masks import MaskTraining
from tfbackdoor.attacks.generators import GeneratedTrigger
from tfbackdoor.attacks.input_aware import InputAwareTraining
from tfbackdoor.attacks.low_frequency import make_low_frequency_trigger
from tfbackdoor.attacks.poisoned_training import poison
from tfbackdoor.attacks.poisoning import Poisoning
from tfbackdoor.attacks.reflections import Reflections
from tfbackdoor.attacks.reflections import make_reflections
from tfbackdoor.attacks.refool import choose_reflections
from tfbackdoor.attacks.retuning import retune
from tfbackdoor.attacks.table import ATTACKS
from tfbackdoor.attacks.table import Attack
from tfbackdoor.attacks.table import train_attacked
from tfbackdoor.attacks.triggers import Trigger
from tfbackdoor.attacks.triggers import make_trigger
from tfbackdoor.attacks.trojan import make_trojan_trigger
from tfbackdoor.attacks.wanet import Warp
from tfbackdoor.attacks.wanet import make_warp

__all__ = [
    "ATTACKS",
    "Attack",
    "Dithering",
    "GeneratedTrigger",
    "InputAwareTraining",
    "LinfPerturbation",
    "MaskTraining",
    "MaskedBlend",
    "Poisoning",
    "Reflections",
    "Trigger",
    "Warp",
    "choose_reflections",
    "make_low_frequency_trigger",
    "make_reflections",
    "make_trigger",
    "make_trojan_trigger",
    "make_warp",
    "perturb_images",
    "poison",
    "retune",
    "train_attacked",
]
