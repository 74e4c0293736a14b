"""Is a classifier backdoored, and which class is the target?"""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor.data import sampling
from tfbackdoor.defenses import calibration
from tfbackdoor.defenses import inverted_triggers
from tfbackdoor.network import door
from tfbackdoor.scanning import neuron_perturbation
from tfbackdoor.scanning import patch_inversion

SURE_BELOW, SURE_ABOVE = 2.5, 3.5
_GATHERED, _TIMES_CHANCE = 0.6, 3.0
_PERTURBED_BATCH = 128
_MOST_SUSPECTS = 3
_FEWEST_CLASSES = 4
_SUCCEEDED = 0.5


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

    Reference: Iglewicz & Hoaglin, How to Detect and Handle Outliers, 1993, for
    the 3.5.
    """

    anomalies: np.ndarray
    triggers: inverted_triggers.InvertedTriggers
    error_shares: np.ndarray
    epsilon: float

    @property
    def verdict(self) -> str:
        """`"backdoored"`, `"clean"` or `"not sure"`.

        Backdoored: an anomaly above 3.5, or above 2.5 of the class in which
        errors gather (60 % of them and three times its share by chance).
        Clean: neither an anomaly above 2.5 nor such a class. Fewer than 4
        classes are too few to be sure, and a search that found no trigger
        for any class has nothing to say.
        """
        if len(self.anomalies) < _FEWEST_CLASSES or self.found_nothing:
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
    def found_nothing(self) -> bool:
        """Whether no trigger turned half of the images to its class."""
        return bool(np.all(self.triggers.success < _SUCCEEDED))

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
        if self.found_nothing:
            return "not sure; the search found no trigger for any class"
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
        }


def scan(
    classifier: keras.Model,
    clean: tf.data.Dataset,
    *,
    steps: int = 200,
    epsilon: float | None = None,
    preprocess=None,
    output: str | None = None,
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
        clean: clean images and labels in any form of `labelled_images`, uint8
            or float in [0, 1].
        steps: int > 0, batches of the search.
        epsilon: float > 0, perturbation of the neurons; default by
            `choose_epsilon`.
        preprocess: see `purify`.
        output: see `purify`.
        seed: int, of batches and of the triggers' start.
        precision: of the forward passes, see `ComputeView`.
        verbose: Keras' verbosity.

    Raises:
        TypeError: where the classifier or the images are of another kind.
        ValueError: where they will not do, or accuracy is at chance.
    """
    admitted = door.admit(
        classifier,
        clean,
        output=output,
        preprocess=preprocess,
        differentiable=True,
    )
    classifier, clean = admitted.classifier, admitted.images
    triggers = patch_inversion.smallest_triggers(
        classifier,
        clean,
        steps=steps,
        seed=seed,
        precision=precision,
        verbose=verbose,
    )
    batches = sampling.training_batches(
        clean, _PERTURBED_BATCH, seed=seed, replacement=True
    )
    if epsilon is None:
        epsilon = calibration.choose_epsilon(
            classifier, batches, seed=seed, precision=precision
        )
    return Scan(
        patch_inversion.anomaly_scores(triggers.sizes, triggers.success),
        triggers,
        neuron_perturbation.error_shares(
            classifier, batches, epsilon, seed=seed, precision=precision
        ),
        epsilon,
    )
