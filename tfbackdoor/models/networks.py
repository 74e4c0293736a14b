"""The networks by name."""

import functools

import keras

from tfbackdoor.models import mobilenet
from tfbackdoor.models import resnet
from tfbackdoor.models import vgg
from tfbackdoor.models import wrn

# From name to builder `(image_shape, classes, *, width=1)`.
NETWORKS = {
    "resnet18": resnet.resnet18,
    "resnet34": resnet.resnet34,
    "resnet50": resnet.resnet50,
    "resnet101": resnet.resnet101,
    "resnet152": resnet.resnet152,
    "preact_resnet18": resnet.preact_resnet18,
    "wide_resnet": wrn.wide_resnet,
    "wrn10": functools.partial(wrn.wide_resnet, depth=10),
    "wrn16": functools.partial(wrn.wide_resnet, depth=16),
    "wrn40": functools.partial(wrn.wide_resnet, depth=40),
    "vgg19": vgg.vgg19,
    "mobilenet_v2": mobilenet.mobilenet_v2,
}


def build_network(
    name: str, image_shape: tuple[int, int, int], classes: int, **settings
) -> keras.Model:
    """A network with fresh weights.

    Args:
        name: a key of `NETWORKS`.
        image_shape: `(height, width, channels)`.
        classes: int >= 2.
        **settings: of the builder, such as `width` or, of `wide_resnet`,
            `depth`.

    Raises:
        ValueError: on an unknown name; the message lists the valid ones.
    """
    if name not in NETWORKS:
        raise ValueError(
            f"`name` of a network must be one of {sorted(NETWORKS)}. "
            f"Received: {name!r}"
        )
    return NETWORKS[name](image_shape, classes, **settings)
