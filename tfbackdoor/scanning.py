"""Is a classifier backdoored, and which class is the target?"""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor import classifiers
from tfbackdoor import inversion
from tfbackdoor import sampling

SURE_BELOW, SURE_ABOVE = 2.5, 3.5
_LEAST_SPREAD = 0.25
_MOST_STAMPED = 512
_MOST_SUSPECTS = 3


@dataclasses.dataclass(frozen=True, eq=False)
class Scan:
    """What a scan found.

    Args:
        anomalies: `(classes,)` floats, how far the logarithm of a class's
            trigger size lies below the median, in robust standard deviations
            of the sizes below it; the larger, the more suspicious.
        triggers: the smallest trigger found for each class.
        verdict: `"clean"` (no anomaly above 2.5), `"backdoored"` (one above
            3.5) or `"not sure"`.

    Reference: Iglewicz & Hoaglin, How to Detect and Handle Outliers, 1993, for
    the 3.5.
    """

    anomalies: np.ndarray
    triggers: inversion.InvertedTriggers
    verdict: str

    @property
    def suspected(self) -> int | None:
        """The class that a backdoor calls, None unless there is a verdict."""
        if self.verdict != "backdoored":
            return None
        return int(np.argmax(self.anomalies))

    @property
    def suspects(self) -> list[int]:
        """The classes worth unlearning triggers of, most suspicious first.

        Those with a verdict; where there is none, the three with the largest
        anomalies; none of a clean classifier.
        """
        order = np.argsort(-self.anomalies).tolist()
        if self.verdict == "backdoored":
            return [k for k in order if self.anomalies[k] > SURE_ABOVE]
        return order[:_MOST_SUSPECTS] if self.verdict == "not sure" else []

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
        }


def scan(
    classifier: keras.Model,
    clean: tf.data.Dataset,
    *,
    steps: int = 200,
    seed: int = 0,
    precision: str | None = None,
    verbose="auto",
) -> Scan:
    """Looks for a backdoor, with clean images alone.

    Searches for each class the smallest patch that turns images of all other
    classes to it (`TriggerInversion`). A backdoor is a short cut: the patch
    that calls its target is far smaller than that of any other class. A
    classifier whose every class is a target, or that has fewer than 4
    classes, gives nothing to compare with.

    Args:
        classifier: built Keras classifier; it is not changed.
        clean: unbatched data set of clean `(image, label)` in [0, 1].
        steps: int > 0, batches of the search.
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
    anomalies = anomaly_scores(triggers.sizes, triggers.success)
    return Scan(anomalies, triggers, _verdict(anomalies))


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


def _verdict(anomalies):
    strongest = float(np.max(anomalies))
    if len(anomalies) < 4:
        return "not sure"
    if strongest > SURE_ABOVE:
        return "backdoored"
    return "clean" if strongest < SURE_BELOW else "not sure"
