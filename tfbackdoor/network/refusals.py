"""What no classifier may be, said in one sentence before any work."""

import keras
import numpy as np

from tfbackdoor.network import devices
from tfbackdoor.network import facts
from tfbackdoor.network import structure

_NAMED = 5


def check_kind(classifier) -> None:
    """Raises unless `classifier` is a built Keras 3 model of one input."""
    if not isinstance(classifier, keras.Model):
        raise TypeError(
            "`classifier` must be a keras.Model. "
            f"Received: {_described(classifier)}"
        )
    if not classifier.built:
        raise ValueError(
            "`classifier` must be built: call it once on a batch of images. "
            f"Received: {classifier.name}, which has no variables yet."
        )
    facts.facts_of(classifier).image_shape  # noqa: B018 (one input, or raises)


def check_layers(classifier: keras.Model, *, trains: bool = True) -> None:
    """Raises ValueError on layers that this package cannot compute with.

    Args:
        classifier: built Keras model.
        trains: bool, whether it is to be trained, for which integer kernels
            have no gradient.
    """
    for name, layer in structure.named_layers(classifier).items():
        if getattr(layer, "data_format", None) == "channels_first":
            raise ValueError(
                "`classifier` must compute channels last: build it with "
                "data_format='channels_last', with Permute((3, 1, 2)) before a "
                "Flatten, and set the weights of this one. "
                f"Received: {classifier.name}, whose layer {name!r} has "
                "channels first."
            )
        if trains and getattr(layer, "quantization_mode", None):
            raise ValueError(
                "`classifier` must hold float weights: give it as it was "
                "before it was quantized, and quantize the result. Received: "
                f"{classifier.name}, whose layer {name!r} was quantized to "
                f"{layer.quantization_mode}."
            )
        if trains and _overruns_memory(layer):
            raise ValueError(
                "`classifier` cannot be trained here: oneDNN writes beyond its "
                "memory in the gradient of a strided 1x1 convolution of so few "
                "channels (its issue 6035); start again with "
                "TF_ENABLE_ONEDNN_OPTS=0 in the environment. Received: "
                f"{classifier.name}, whose layer {name!r} takes "
                f"{layer.kernel.shape[-2]} channels, fewer than "
                f"{devices.onednn_block()}."
            )


def check_scores(classifier: keras.Model) -> None:
    """Raises ValueError unless it gives one score per class."""
    scores = facts.facts_of(classifier).scores
    if isinstance(scores, (list, tuple, dict)):
        names = output_names(classifier)
        raise ValueError(
            "`classifier` must have one output: `output=` of load_classifier, "
            "purify, scan, defend and evaluate picks one by its name. "
            f"Received: the outputs {names}"
        )
    shape = tuple(getattr(scores, "shape", ()))
    if len(shape) == 2 and shape[1] == 1:
        raise ValueError(
            "`classifier` must give one score per class, shape (batch, "
            "classes) with classes >= 2; purify, scan, defend and evaluate "
            "take one sigmoid unit as two classes. Received: output shape "
            f"{shape}"
        )
    if len(shape) != 2 or shape[1] is None or shape[1] < 2:
        raise ValueError(
            "`classifier` must give one score per class, shape (batch, "
            f"classes) with classes >= 2. Received: output shape {shape}"
        )


def check_weights(classifier: keras.Model) -> None:
    """Raises ValueError on weights that are no finite numbers."""
    layers = [
        name
        for name, layer in structure.named_layers(classifier).items()
        if any(
            not np.isfinite(weight).all()
            for weight in map(np.asarray, layer.get_weights())
            if weight.dtype.kind not in "biu"
        )
    ]
    if layers:
        raise ValueError(
            "`classifier` must hold weights that are finite numbers. Received: "
            f"{classifier.name}, where those of {layers[:_NAMED]} are not."
        )


def output_names(classifier: keras.Model) -> list[str]:
    """What its outputs are called: keys of a dict, else layer names.

    A name met again gets a number.
    """
    scores = facts.facts_of(classifier).scores
    if isinstance(scores, dict):
        return list(scores)
    names = getattr(classifier, "output_names", None)
    if not names:
        names = [f"output_{i}" for i in range(len(scores))]
    return [
        f"{name}_{names[:i].count(name) + 1}" if name in names[:i] else name
        for i, name in enumerate(names)
    ]


def _overruns_memory(layer):
    return (
        isinstance(layer, keras.layers.Conv2D)
        and tuple(layer.kernel_size) == (1, 1)
        and tuple(layer.strides) != (1, 1)
        and layer.kernel.shape[-2] < devices.onednn_block()
    )


def _described(other):
    kind = type(other)
    module = kind.__module__.split(".")[0]
    if module == "tf_keras" or kind.__module__.startswith(
        ("tensorflow.python.keras", "keras.engine", "keras.src.engine")
    ):
        return (
            f"a model of Keras 2 ({kind.__module__}); save it by "
            "model.save('model.h5') and load that by load_classifier."
        )
    if module == "torch":
        return (
            f"{kind.__name__} of PyTorch; load_pytorch_weights puts its "
            "weights into a Keras network."
        )
    return kind.__name__
