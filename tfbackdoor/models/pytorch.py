"""Fills a classifier from arrays under PyTorch state-dict names."""

import pathlib

import keras
import numpy as np

from tfbackdoor.files import arrays as array_files
from tfbackdoor.files import safetensors

_IGNORED = "num_batches_tracked"
_PARAMETERS = {
    keras.layers.Conv2D: {"weight": "kernel", "bias": "bias"},
    keras.layers.DepthwiseConv2D: {"weight": "kernel", "bias": "bias"},
    keras.layers.Dense: {"weight": "kernel", "bias": "bias"},
    keras.layers.BatchNormalization: {
        "weight": "gamma",
        "bias": "beta",
        "running_mean": "moving_mean",
        "running_var": "moving_variance",
    },
}
# PyTorch's (out, in, height, width) and (out, in) to Keras' layouts; of a
# depthwise kernel (out, 1, height, width).
_TRANSPOSITIONS = {4: (2, 3, 1, 0), 2: (1, 0)}
_DEPTHWISE_TRANSPOSITION = (2, 3, 0, 1)
_READERS = {
    ".npz": array_files.read_arrays,
    ".safetensors": safetensors.read_safetensors,
}
_PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".tar")


def load_pytorch_weights(
    classifier: keras.Model,
    arrays: dict[str, np.ndarray] | str | pathlib.Path,
) -> None:
    """Fills `classifier` in place from a PyTorch state dict.

    The array `block1.layer.0.bn1.running_mean` goes to the variable
    `moving_mean` of the layer `block1_layer_0_bn1`; kernels are transposed
    to Keras' layout.

    Args:
        classifier: model with layers named after the state dict, such as
            `wide_resnet` and `resnet18` build.
        arrays: from state-dict name to array, or an `.npz` or `.safetensors`
            file of them; `num_batches_tracked` is ignored.

    Raises:
        ValueError: unless arrays and variables correspond one to one, with
            equal shapes, and a file can be read. Nothing is changed then.
    """
    given = arrays if isinstance(arrays, dict) else _read(pathlib.Path(arrays))
    variables = _variables_by_name(classifier)
    arrays = {
        name: array
        for name, array in given.items()
        if not name.endswith(_IGNORED)
    }
    named = {name.replace(".", "_") for name in arrays}
    missing = sorted(variables.keys() - named)
    unknown = sorted(named - variables.keys())
    if missing or unknown:
        raise ValueError(
            "`arrays` must name every variable of the classifier once. "
            f"Received: missing {missing[:3]}, unknown {unknown[:3]}"
        )
    assignments = []
    depthwise = {
        id(layer.kernel)
        for layer in classifier.layers
        if isinstance(layer, keras.layers.DepthwiseConv2D)
    }
    for name, array in arrays.items():
        variable = variables[name.replace(".", "_")]
        order = _TRANSPOSITIONS.get(array.ndim)
        if id(variable) in depthwise:
            order = _DEPTHWISE_TRANSPOSITION
        array = np.transpose(array, order)
        if array.shape != tuple(variable.shape):
            raise ValueError(
                f"`arrays` must fit the classifier's shapes: {name} needs "
                f"{tuple(variable.shape)} in Keras' layout. "
                f"Received: {array.shape}"
            )
        assignments.append((variable, array))
    for variable, array in assignments:
        variable.assign(array)


def _variables_by_name(classifier):
    return {
        f"{layer.name}_{pytorch_name}": getattr(layer, keras_name)
        for layer in classifier.layers
        for pytorch_name, keras_name in _PARAMETERS.get(type(layer), {}).items()
        if getattr(layer, keras_name, None) is not None
    }


def _read(path):
    """The arrays of a file; no pickle is read, whose code would run."""
    if path.suffix in _READERS:
        return _READERS[path.suffix](path)
    if path.suffix in _PICKLES:
        raise ValueError(
            "`arrays` must be an .npz or .safetensors file. Received: "
            f"{path}, a pickle, which could run code; convert it where you "
            "trust it: state = torch.load("
            f"{path.name!r}, map_location='cpu', weights_only=True); numpy."
            f"savez({path.with_suffix('.npz').name!r}, **{{name: "
            "array.float().numpy() for name, array in state.items()})"
        )
    raise ValueError(
        f"`arrays` must be an .npz or .safetensors file. Received: {path}"
    )
