"""What is known of a classifier, found once and handed on."""

import functools
import weakref
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from tfbackdoor.network import graph
from tfbackdoor.network import public_call
from tfbackdoor.network import remembering
from tfbackdoor.network import structure

_NOISE_IMAGES = 16


class Facts:
    """The facts of one classifier, each found when it is first asked for.

    Made by `facts_of`. Holds no strong reference to the classifier.

    Attributes:
        value_range: the `ValueRange` of the images that it takes, None until
            it is found.
        is_admitted: bool, whether a call of this package that goes on has
            seen to its images already.
    """

    def __init__(self, classifier: keras.Model):
        self._classifier: Callable[[], Any] = weakref.ref(classifier)
        self.value_range = None
        self._admitted_by: public_call.Call | None = None

    @property
    def is_admitted(self) -> bool:
        """Whether the call that admitted it goes on."""
        return self._admitted_by is not None and self._admitted_by.goes_on

    def admit(self) -> None:
        """Has it, and copies of it, admitted until the user's call ends."""
        self._admitted_by = public_call.current()

    @functools.cached_property
    def image_shape(self) -> tuple:
        """`(height, width, channels)` of the images that it takes."""
        classifier = self._classifier()
        if getattr(classifier, "inputs", None):
            shape = classifier.input_shape
        else:
            shape = (classifier.get_build_config() or {}).get("input_shape", ())
            if not any(isinstance(size, (list, tuple)) for size in shape):
                shape = tuple(shape)  # A list where it was read from a file.
        if isinstance(shape, (list, dict)):
            raise ValueError(
                "`classifier` must have one input. Received: "
                f"{len(shape)} inputs."
            )
        return tuple(shape[1:])

    @functools.cached_property
    def input_dtype(self) -> str:
        """The dtype of its symbolic input, float32 where it has none."""
        inputs = getattr(self._classifier(), "inputs", None)
        return inputs[0].dtype if inputs else "float32"

    @functools.cached_property
    def scores(self):
        """Shape and dtype of what it gives, a structure as it gives it.

        Read from the graph; a model without one is traced, or run on one
        image where it cannot be.
        """
        classifier = self._classifier()
        if getattr(classifier, "outputs", None):
            return graph.output_of(classifier)
        return _computed_scores(classifier, (1, *self.image_shape))

    @property
    def classes(self) -> int:
        """Number of classes that it tells apart."""
        return self.scores.shape[-1]

    @functools.cached_property
    def gives_logits(self) -> bool:
        """Whether it gives logits rather than probabilities."""
        classifier = self._classifier()
        last = structure.output_layer(classifier)
        activation = getattr(last, "activation", None)
        if activation is keras.activations.softmax:
            return False
        if activation is keras.activations.sigmoid:
            return True
        return not _gives_distributions(classifier, self.image_shape)


@remembering.once_a_model
def facts_of(classifier: keras.Model) -> Facts:
    """The facts of a built classifier; the same object for the same model."""
    return Facts(classifier)


def take_over(copy: keras.Model, original: keras.Model) -> None:
    """Gives a copy the facts that copies share, as far as they are known."""
    known = vars(facts_of(original))
    for name in ("image_shape", "input_dtype", "gives_logits"):
        if name in known:
            vars(facts_of(copy))[name] = known[name]
    if "scores" in known and not getattr(copy, "outputs", None):
        vars(facts_of(copy))["scores"] = known["scores"]
    values = known["value_range"]
    facts_of(copy).value_range = values and values.of_copy()
    facts_of(copy)._admitted_by = known["_admitted_by"]


def _computed_scores(classifier, shape):
    try:
        return classifier.compute_output_spec(keras.KerasTensor(shape))
    except Exception:
        return classifier(np.zeros(shape, "float32"), training=False)


def _gives_distributions(classifier, image_shape):
    """Whether the scores of images of noise are distributions."""
    rng = np.random.default_rng(0)
    images = rng.random((_NOISE_IMAGES, *image_shape), "float32")
    scores = keras.ops.convert_to_numpy(graph.call(classifier, images))
    scores = scores.astype("float64")
    return np.all(scores >= 0.0) and np.allclose(
        scores.sum(axis=1), 1.0, atol=1e-2
    )
