"""What is known of a given Keras classifier, and how it is computed.

Its shape, classes and value range, its layers and neurons, a fast view of its
graph, and reading, copying and exporting it.
"""

from tfbackdoor.network.adapting import conform
from tfbackdoor.network.batch_size import batch_size_for
from tfbackdoor.network.classifiers import class_count
from tfbackdoor.network.classifiers import image_shape
from tfbackdoor.network.copying import copy_classifier
from tfbackdoor.network.devices import default_precision
from tfbackdoor.network.devices import is_chief
from tfbackdoor.network.devices import make_strategy
from tfbackdoor.network.devices import set_seed
from tfbackdoor.network.export import export_classifier
from tfbackdoor.network.export_formats import FORMATS
from tfbackdoor.network.export_formats import check_formats
from tfbackdoor.network.layers import FusedBatchNormalization
from tfbackdoor.network.layers import NeuronMask
from tfbackdoor.network.loading import as_in_file
from tfbackdoor.network.loading import load_classifier
from tfbackdoor.network.neurons import find_neurons
from tfbackdoor.network.value_range import RangeWarning
from tfbackdoor.network.value_range import ValueRange
from tfbackdoor.network.value_range import find_value_range

__all__ = [
    "FORMATS",
    "FusedBatchNormalization",
    "NeuronMask",
    "RangeWarning",
    "ValueRange",
    "as_in_file",
    "batch_size_for",
    "check_formats",
    "class_count",
    "conform",
    "copy_classifier",
    "default_precision",
    "export_classifier",
    "find_neurons",
    "find_value_range",
    "image_shape",
    "is_chief",
    "load_classifier",
    "make_strategy",
    "set_seed",
]
