"""The JSON config that a Keras model file is built from.

Keras' safe mode refuses code in a config. What is let through here is stricter:
only classes of Keras that make up networks, functions of Keras by name, and
classes that this process registered; and no number with which one of them
would work or allocate beyond reason.
"""

import functools
import re
import sys

import keras

from tfbackdoor.files import json_files

_VALUES = {  # What Keras writes for values that JSON has no word for.
    "__keras_tensor__",
    "__tensor__",
    "__numpy__",
    "__tuple__",
    "__ellipsis__",
    "__slice__",
    "TensorShape",
}
_KINDS = (
    keras.Operation,  # Layers and models too.
    keras.constraints.Constraint,
    keras.DTypePolicy,
    keras.initializers.Initializer,
    keras.losses.Loss,
    keras.metrics.Metric,
    keras.optimizers.Optimizer,
    keras.optimizers.schedules.LearningRateSchedule,
    keras.quantizers.Quantizer,
    keras.random.SeedGenerator,
    keras.regularizers.Regularizer,
    # Since Keras 3.13.
    getattr(keras.quantizers, "QuantizationConfig", keras.quantizers.Quantizer),
)
# Code, files outside the model's, and filters computed at any size.
_REFUSED = (
    "FlaxLayer",
    "IntegerLookup",
    "JaxLayer",
    "Lambda",
    "MelSpectrogram",
    "STFTSpectrogram",
    "StringLookup",
    "TFSMLayer",
    "TextVectorization",
    "TorchModuleWrapper",
)
_NAMESPACES = (
    "layers",
    "models",
    "activations",
    "constraints",
    "dtype_policies",
    "initializers",
    "losses",
    "metrics",
    "optimizers",
    "optimizers.schedules",
    "quantizers",
    "regularizers",
)
_FUNCTIONS = (
    "activations",
    "constraints",
    "initializers",
    "losses",
    "metrics",
    "ops",
    "ops.nn",
    "ops.numpy",
    "regularizers",
)
_DTYPE = re.compile(r"(bfloat|float|int|uint|bool)\d{0,2}")
_MOST_OBJECTS = 100_000
_LARGEST_SIZE = 2**24
# Numbers that are no sizes: random seeds and names of objects in the file.
_ANY_NUMBER = {"seed", "salt", "shared_object_id"}


def read_config(content: bytes | str) -> dict:
    """The config of a model file, as JSON; raises ValueError as `check`."""
    config = json_files.parse(content)
    check(config)
    return config


def check(config: dict) -> None:
    """Raises ValueError unless `config` builds a network and nothing else."""
    pending, count = [("", config)], 0
    while pending:
        key, value = pending.pop()
        count += 1
        if count > _MOST_OBJECTS:
            raise ValueError(f"its config has over {_MOST_OBJECTS} objects")
        if isinstance(value, dict):
            if "class_name" in value:
                _check_object(value)
            pending += [
                (name, child)
                for name, child in value.items()
                if _is_worth_a_look(child)
            ]
        elif isinstance(value, list):
            pending += [(key, x) for x in value if _is_worth_a_look(x)]
        elif abs(value) > _LARGEST_SIZE and key not in _ANY_NUMBER:
            raise ValueError(f"its config asks for {key}={str(value)[:30]}")


def _is_worth_a_look(value):
    return isinstance(value, (dict, list)) or (
        isinstance(value, int) and not isinstance(value, bool)
    )


def _check_object(value):
    name, module = value["class_name"], value.get("module")
    if not isinstance(name, str) or not isinstance(module, (str, type(None))):
        raise ValueError("its config names a class by something else than text")
    if name in _VALUES:
        return _check_value(value)
    if any(map(_is_registered, (name, _text(value, "registered_name")))):
        return None
    if name == "function":
        return _check_function(_text(value, "config"), module)
    _check_class(name, module)
    settings = value.get("config")
    if isinstance(settings, dict) and settings.get("unroll"):
        raise ValueError(f"its config asks for an unrolled {name}")
    return None


def _is_registered(name):
    return keras.saving.get_registered_object(name) is not None


def _text(value, key):
    return value[key] if isinstance(value.get(key), str) else ""


def _check_value(value):
    """Numpy allocates by the dtype, which may be a string of any length."""
    settings = value.get("config")
    dtype = settings.get("dtype") if isinstance(settings, dict) else None
    if dtype is not None and not _DTYPE.fullmatch(str(dtype)):
        raise ValueError(
            f"its config holds values of dtype {str(dtype)[:50]!r}"
        )


def _check_function(name, module):
    if module not in (None, "builtins", *(f"keras.{n}" for n in _FUNCTIONS)):
        raise ValueError(f"its config names the function {module}.{name}"[:200])
    if not any(_public(namespace, name) for namespace in _FUNCTIONS):
        raise ValueError(
            f"its config names the function {name[:100]!r}, which is neither "
            "of Keras nor registered"
        )


def _check_class(name, module):
    found = _find_class(name, module)
    parents = {parent.__name__ for parent in getattr(found, "__mro__", ())}
    if refused := {name, *parents}.intersection(_REFUSED):
        raise ValueError(
            f"its config holds a {refused.pop()} layer, which needs custom "
            "code or other files"
        )
    if not (isinstance(found, type) and issubclass(found, _KINDS)):
        place = f"{module}.{name}" if module else name
        raise ValueError(
            f"its config names {place[:100]!r}, which is neither of Keras nor "
            "registered with keras.saving.register_keras_serializable"
        )


def _find_class(name, module):
    """The class that Keras would take, without importing anything."""
    if module is None:  # A legacy file.
        if name == "Functional":
            return keras.Model
        return next(
            (
                found
                for namespace in _NAMESPACES
                if isinstance(found := _public(namespace, name), type)
            ),
            None,
        )
    if not name.isidentifier() or module.split(".")[0] != "keras":
        return None
    if module == "keras":
        return getattr(keras, name, None)
    public = _public(module.removeprefix("keras."), name)
    return public or getattr(sys.modules.get(module), name, None)


def _public(namespace, name):
    """`keras.<namespace>.<name>`, or None."""
    if not name.isidentifier():
        return None
    return functools.reduce(
        lambda found, part: getattr(found, part, None),
        [*namespace.split("."), name],
        keras,
    )
