"""Architectures that the papers attack and defend, built by name.

`NETWORKS` is the table of them; layer names are those of the PyTorch networks,
whose weights `load_pytorch_weights` takes.
"""

from tfbackdoor.models.mobilenet import mobilenet_v2
from tfbackdoor.models.networks import NETWORKS
from tfbackdoor.models.networks import build_network
from tfbackdoor.models.pytorch import load_pytorch_weights
from tfbackdoor.models.resnet import preact_resnet18
from tfbackdoor.models.resnet import resnet18
from tfbackdoor.models.resnet import resnet34
from tfbackdoor.models.resnet import resnet50
from tfbackdoor.models.resnet import resnet101
from tfbackdoor.models.resnet import resnet152
from tfbackdoor.models.vgg import vgg19
from tfbackdoor.models.wrn import wide_resnet

__all__ = [
    "NETWORKS",
    "build_network",
    "load_pytorch_weights",
    "mobilenet_v2",
    "preact_resnet18",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "vgg19",
    "wide_resnet",
]
