"""The signals of a scan, a file each, and what they say together.

Each is a function of a classifier and clean images, a number per class.
"""

from tfbackdoor.scanning.findings import Scan
from tfbackdoor.scanning.margins import largest_margins
from tfbackdoor.scanning.neuron_perturbation import error_shares
from tfbackdoor.scanning.permutation import one_to_one_shares
from tfbackdoor.scanning.waves import wave_answers

__all__ = [
    "Scan",
    "error_shares",
    "largest_margins",
    "one_to_one_shares",
    "wave_answers",
]
