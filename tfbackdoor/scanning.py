"""Is a classifier backdoored, and which class is the target?"""

import dataclasses
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor import calibration
from tfbackdoor import classifiers
from tfbackdoor import gathering
from tfbackdoor import inversion
from tfbackdoor import inverted_triggers
from tfbackdoor import rates
from tfbackdoor import sampling

SURE_BELOW, SURE_ABOVE = 2.5, 3.5
_LEAST_SPREAD = 0.25
_GATHERED, _TIMES_CHANCE = 0.6, 3.0
_PERTURBED_BATCH = 128
_MOST_STAMPED = 512
_MOST_SUSPECTS = 3
_FEWEST_CLASSES = 4


@dataclasses.dataclass(frozen=True, eq=False)
class Scan:
    """What a scan found.

    Args:
        anomalies: `(classes,)` floats, how far the logarithm of a class's
            trigger size lies below the median, in robust standard deviations
            of the sizes below it; the larger, the more suspicious.
        triggers: the smallest trigger found for each class.
        error_shares: `(classes,)` floats, how the errors under adversarial
            neuron perturbation fall on the classes, see `error_shares`.
        epsilon: float, that perturbation.

    Attributes:
        false_positive_rate: `Rate` of clean networks that were called
            backdoored, small ones of the embedded digits
            (`benchmarks/scan_rates.py`; others may fare worse).

    Reference: Iglewicz & Hoaglin, How to Detect and Handle Outliers, 1993, for
    the 3.5.
    """

    anomalies: np.ndarray
    triggers: inverted_triggers.InvertedTriggers
    error_shares: np.ndarray
    epsilon: float

    false_positive_rate: ClassVar[rates.Rate] = rates.Rate(0, 22)

    @property
    def verdict(self) -> str:
        """`"backdoored"`, `"clean"` or `"not sure"`.

        Backdoored: an anomaly above 3.5, or above 2.5 of the class in which
        errors gather (60 % of them and three times its share by chance).
        Clean: neither an anomaly above 2.5 nor such a class. Fewer than 4
        classes are too few to be sure.
        """
        if len(self.anomalies) < _FEWEST_CLASSES:
            return "not sure"
        strongest = int(np.argmax(self.anomalies))
        anomaly, gathered = self.anomalies[strongest], self.gathered
        if anomaly > SURE_ABOVE or (
            anomaly > SURE_BELOW and gathered == strongest
        ):
            return "backdoored"
        if anomaly > SURE_BELOW or gathered is not None:
            return "not sure"
        return "clean"

    @property
    def gathered(self) -> int | None:
        """The class in which errors gather, None where they do not."""
        by_chance = 1.0 / (len(self.error_shares) - 1)
        least = max(_GATHERED, _TIMES_CHANCE * by_chance)
        largest = int(np.argmax(self.error_shares))
        return largest if self.error_shares[largest] >= least else None

    @property
    def suspected(self) -> int | None:
        """The class that a backdoor calls, None unless there is a verdict."""
        if self.verdict != "backdoored":
            return None
        return int(np.argmax(self.anomalies))

    @property
    def suspects(self) -> list[int]:
        """The classes worth unlearning triggers of, most suspicious first.

        The suspected class and those with an anomaly above 3.5; where there
        is no verdict, the class in which errors gather and those with the
        largest anomalies, three in all; none of a clean classifier.
        """
        order = np.argsort(-self.anomalies).tolist()
        if self.verdict == "backdoored":
            return [
                k
                for k in order
                if k == order[0] or self.anomalies[k] > SURE_ABOVE
            ]
        if self.verdict == "clean":
            return []
        first = [] if self.gathered is None else [self.gathered]
        rest = [k for k in order if k not in first]
        return (first + rest)[:_MOST_SUSPECTS]

    def __str__(self):
        if self.verdict == "backdoored":
            return f"backdoored; the target is class {self.suspected}"
        if self.verdict == "clean":
            return "clean; no class is called by an unusually small trigger"
        return f"not sure; most suspicious are classes {self.suspects}"

    def to_json(self) -> dict:
        """Dict of the verdict and, for each class, anomaly and trigger."""
        return {
            "verdict": self.verdict,
            "suspected": self.suspected,
            "suspects": self.suspects,
            "anomalies": self.anomalies.tolist(),
            "trigger_pixels": self.triggers.sizes.tolist(),
            "trigger_success": self.triggers.success.tolist(),
            "error_shares": self.error_shares.tolist(),
            "epsilon": self.epsilon,
            "false_positive_rate": {
                "value": self.false_positive_rate.value,
                "interval_95": list(self.false_positive_rate.interval),
                "networks": self.false_positive_rate.total,
            },
        }


def scan(
    classifier: keras.Model,
    clean: tf.data.Dataset,
    *,
    steps: int = 200,
    epsilon: float | None = None,
    seed: int = 0,
    precision: str | None = None,
    verbose="auto",
) -> Scan:
    """Looks for a backdoor, with clean images alone.

    Searches for each class the smallest patch that turns images of all other
    classes to it (`TriggerInversion`). A backdoor is a short cut: the patch
    that calls its target is far smaller than that of any other class. And
    perturbs the neurons as ANP does: the errors of a backdoored classifier
    gather in its target (`error_shares`). A
    classifier whose every class is a target, or that has fewer than 4
    classes, gives nothing to compare with.

    Args:
        classifier: built Keras classifier; it is not changed.
        clean: unbatched data set of clean `(image, label)` in [0, 1].
        steps: int > 0, batches of the search.
        epsilon: float > 0, perturbation of the neurons; default by
            `choose_epsilon`.
        seed: int, of batches and of the triggers' start.
        precision: of the forward passes, see `ComputeView`.
        verbose: Keras' verbosity.
    """
    classes = classifiers.class_count(classifier)
    search = inversion.TriggerInversion(
        classifier, range(classes), seed=seed, precision=precision
    )
    search.compile()
    batch_size = int(np.clip(_MOST_STAMPED // classes, 8, 16))
    search.fit(
        sampling.training_batches(
            clean, batch_size, seed=seed, replacement=True
        ),
        steps_per_epoch=steps,
        verbose=verbose,
    )
    triggers = search.triggers()
    batches = sampling.training_batches(
        clean, _PERTURBED_BATCH, seed=seed, replacement=True
    )
    if epsilon is None:
        epsilon = calibration.choose_epsilon(
            classifier, batches, seed=seed, precision=precision
        )
    return Scan(
        anomaly_scores(triggers.sizes, triggers.success),
        triggers,
        gathering.error_shares(
            classifier, batches, epsilon, seed=seed, precision=precision
        ),
        epsilon,
    )


def anomaly_scores(sizes, success) -> np.ndarray:
    """How unusually small each class's trigger is.

    `(median - log size) / (1.4826 * median of the deviations of those below
    the median)`, the divisor at least 0.25: sizes vary by a quarter by chance.
    A trigger that did not succeed counts as the largest.

    Args:
        sizes: `(classes,)` floats > 0, pixels.
        success: `(classes,)` floats in [0, 1].
    """
    logs = np.log(np.maximum(sizes, 1e-3))
    logs = np.where(np.asarray(success) < 0.5, logs.max(), logs)
    below = np.median(logs) - logs
    spread = 1.4826 * np.median(below[below >= 0.0])
    return below / max(spread, _LEAST_SPREAD)
