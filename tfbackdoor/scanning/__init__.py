"""The signals of a scan, a file each.

Each is a function of a classifier and clean images, a number per class.
"""

from tfbackdoor.scanning.neuron_perturbation import error_shares

__all__ = [
    "error_shares",
]
