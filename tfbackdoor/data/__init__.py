"""Labelled images: where they come from, and how they are drawn and augmented.

All are `tf.data` data sets of `(image, label)`, the image float32 in [0, 1]
of shape `(height, width, channels)`.
"""

from tfbackdoor.data.augmentation import augment
from tfbackdoor.data.checked import checked_images
from tfbackdoor.data.missing_split import MissingSplitError
from tfbackdoor.data.perturbation import perturb_randomly
from tfbackdoor.data.sampling import count_classes
from tfbackdoor.data.sampling import draw_clean
from tfbackdoor.data.sampling import in_memory
from tfbackdoor.data.sampling import select
from tfbackdoor.data.sampling import split_images
from tfbackdoor.data.sampling import split_positions
from tfbackdoor.data.sampling import training_batches
from tfbackdoor.data.sources import from_arrays
from tfbackdoor.data.sources import image_tracks
from tfbackdoor.data.sources import load_images

__all__ = [
    "MissingSplitError",
    "augment",
    "checked_images",
    "count_classes",
    "draw_clean",
    "from_arrays",
    "image_tracks",
    "in_memory",
    "load_images",
    "perturb_randomly",
    "select",
    "split_images",
    "split_positions",
    "training_batches",
]
