"""Attacks: what puts a backdoor into a classifier, a file an attack.

`ATTACKS` is the table of them and `train_attacked` trains by any; a
`Poisoning` says what was poisoned, which is what scoring needs.
"""

from tfbackdoor.attacks.clean_label import LinfPerturbation
from tfbackdoor.attacks.clean_label import perturb_images
from tfbackdoor.attacks.dynamic_masks import MaskTraining
from tfbackdoor.attacks.generators import GeneratedTrigger
from tfbackdoor.attacks.input_aware import InputAwareTraining
from tfbackdoor.attacks.poisoning import Poisoning
from tfbackdoor.attacks.poisoning import poison
from tfbackdoor.attacks.reflections import Reflections
from tfbackdoor.attacks.reflections import make_reflections
from tfbackdoor.attacks.refool import choose_reflections
from tfbackdoor.attacks.table import ATTACKS
from tfbackdoor.attacks.table import Attack
from tfbackdoor.attacks.table import train_attacked
from tfbackdoor.attacks.triggers import Trigger
from tfbackdoor.attacks.triggers import make_trigger
from tfbackdoor.attacks.trojan import make_trojan_trigger

__all__ = [
    "ATTACKS",
    "Attack",
    "GeneratedTrigger",
    "InputAwareTraining",
    "LinfPerturbation",
    "MaskTraining",
    "Poisoning",
    "Reflections",
    "Trigger",
    "choose_reflections",
    "make_reflections",
    "make_trigger",
    "make_trojan_trigger",
    "perturb_images",
    "poison",
    "train_attacked",
]
