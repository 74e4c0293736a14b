"""The arithmetic of a classifier's layers, and of their twins in a clone."""

import keras

from tfbackdoor.network import structure

HALVES = ("float16", "bfloat16")
# From the policy of a layer to what its twin computes in. Gradients in float16
# vanish without loss scaling; weights in bfloat16 lose small changes.
_TWINS = {
    "float32": "float32",
    "mixed_bfloat16": "mixed_bfloat16",
    "mixed_float16": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "float32",
}


def of_twin(layer: keras.Operation, precision: str | None) -> dict:
    """The part of a twin's config that says what it computes in.

    Empty where the layer has no arithmetic of its own, such as `x + 1`, or
    one that is not to be changed, such as float64 and integers.

    Args:
        layer: layer or operation of a classifier.
        precision: dtype policy to compute in, or None for the layer's own.
    """
    policy = getattr(layer, "dtype_policy", None)
    if policy is None or policy.name not in _TWINS:
        return {}
    return {"dtype": precision or _TWINS[policy.name]}


def has_half(classifier: keras.Model) -> bool:
    """Whether some of a classifier's layers compute in half precision."""
    return any(dtype in HALVES for dtype in compute_dtypes(classifier))


def compute_dtypes(classifier: keras.Model) -> set[str]:
    """The types of numbers that a classifier's layers compute in."""
    layers = structure.named_layers(classifier).values()
    return {layer.compute_dtype for layer in layers}
