"""Is a classifier backdoored, and which class is the target?"""

import dataclasses
import statistics

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor.data import sampling
from tfbackdoor.defenses import calibration
from tfbackdoor.defenses import inverted_triggers
from tfbackdoor.network import batch_size
from tfbackdoor.network import classifiers
from tfbackdoor.network import door
from tfbackdoor.scanning import neuron_perturbation
from tfbackdoor.scanning import patch_inversion

# Anomalies that speak against a backdoor and for one, among ten classes.
_UNUSUAL, _EXTREME = 2.5, 3.5
_OF_CLASSES = 10
_GATHERED, _TIMES_CHANCE = 0.6, 3.0
_PERTURBED_BATCH = 128
_MOST_SUSPECTS = 3
_FEWEST_CLASSES = 4
# Of more classes than both together only these are searched to the end.
_CANDIDATES, _REFERENCES = 6, 14
_SUCCEEDED = 0.5
_NORMAL = statistics.NormalDist()


@dataclasses.dataclass(frozen=True, eq=False)
class Scan:
    """What a scan found.

    Args:
        anomalies: `(classes,)` floats, how far the logarithm of a class's
            trigger size lies below the median, in robust standard deviations
            of the sizes below it; the larger, the more suspicious. NaN of
            classes that were not searched to the end.
        triggers: the smallest trigger found for each class that was searched.
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
    def limits(self) -> tuple[float, float]:
        """Anomalies above which a class is unusual, and extreme.

        2.5 and 3.5 among ten classes; among more the largest is larger by
        chance alone, so that the limits rise to be met by chance as seldom.
        """
        classes = len(self.anomalies)
        return tuple(_limit(x, classes) for x in (_UNUSUAL, _EXTREME))

    @property
    def verdict(self) -> str:
        """`"backdoored"`, `"suspicious"` or `"nothing found"`.

        Backdoored: an extreme anomaly, or an unusual one of the class in which
        errors gather (60 % of them and three times its share by chance).
        Nothing found: neither an unusual anomaly nor such a class, which says
        nothing of triggers that are no patch. A search in which no trigger
        succeeded, and fewer than 4 classes, are suspicious at best.
        """
        if len(self.anomalies) < _FEWEST_CLASSES or not self.succeeded:
            return "suspicious"
        unusual, extreme = self.limits
        strongest = int(np.nanargmax(self.anomalies))
        anomaly, gathered = self.anomalies[strongest], self.gathered
        if anomaly > extreme or (anomaly > unusual and gathered == strongest):
            return "backdoored"
        if anomaly > unusual or gathered is not None:
            return "suspicious"
        return "nothing found"

    @property
    def succeeded(self) -> bool:
        """Whether any trigger turned half of the images to its class."""
        return bool(np.any(self.triggers.success >= _SUCCEEDED))

    @property
    def gathered(self) -> int | None:
        """The class in which errors gather, None where they do not."""
        by_chance = 1.0 / (len(self.error_shares) - 1)
        least = max(_GATHERED, _TIMES_CHANCE * by_chance)
        largest = int(np.argmax(self.error_shares))
        return largest if self.error_shares[largest] >= least else None

    @property
    def suspected(self) -> int | None:
        """The target class, None unless the verdict is backdoored."""
        if self.verdict != "backdoored":
            return None
        return int(np.nanargmax(self.anomalies))

    @property
    def suspects(self) -> list[int]:
        """The classes worth unlearning triggers of, most suspicious first.

        The suspected class and those with an extreme anomaly; where the
        verdict is suspicious, the class in which errors gather and those with
        the largest anomalies, three in all; none where nothing was found.
        """
        verdict, (_, extreme) = self.verdict, self.limits
        searched = np.flatnonzero(np.isfinite(self.anomalies))
        order = searched[np.argsort(-self.anomalies[searched])].tolist()
        if verdict == "backdoored":
            return [
                k for k in order if k == order[0] or self.anomalies[k] > extreme
            ]
        if verdict == "nothing found":
            return []
        first = [] if self.gathered not in order else [self.gathered]
        rest = [k for k in order if k not in first]
        return (first + rest)[:_MOST_SUSPECTS]

    def __str__(self):
        if self.verdict == "backdoored":
            return f"backdoored; the target is class {self.suspected}"
        if self.verdict == "nothing found":
            return (
                "nothing found; no class has an unusually small patch, and "
                "errors under neuron perturbation gather in none. Triggers "
                "that are no patch were not looked for"
            )
        why = ""
        if not self.succeeded:
            why = "no trigger was found for any class; "
        return f"suspicious; {why}look at classes {self.suspects} first"

    def to_json(self) -> dict:
        """Dict of the verdict and, for each class, anomaly and trigger."""
        return {
            "verdict": self.verdict,
            "suspected": self.suspected,
            "suspects": self.suspects,
            "anomalies": [
                float(x) if np.isfinite(x) else None for x in self.anomalies
            ],
            "limits": list(self.limits),
            "searched": self.triggers.targets.tolist(),
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
    of its target is far smaller than that of any other class. And perturbs
    the neurons as ANP does: the errors of a backdoored classifier gather in
    its target (`error_shares`). A classifier whose every class is a target,
    or that has fewer than 4 classes, gives nothing to compare with.

    Of more than 20 classes 20 are searched to the end: the six that a short
    search reaches most easily, and 14 at random to compare them with. Memory
    is bounded: classes are searched in groups.

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
    classes = classifiers.class_count(classifier)
    batches = sampling.training_batches(
        clean,
        batch_size.batch_size_for(
            classifier, most=_PERTURBED_BATCH, training=True
        ),
        seed=seed,
        replacement=True,
    )
    if epsilon is None:
        epsilon = calibration.choose_epsilon(
            classifier, batches, seed=seed, precision=precision
        )
    shares = neuron_perturbation.error_shares(
        classifier, batches, epsilon, seed=seed, precision=precision
    )
    references, candidates = _classes_to_search(
        classifier, clean, classes, shares, seed, precision
    )
    triggers = patch_inversion.smallest_triggers(
        classifier,
        clean,
        [*references, *candidates],
        steps=steps,
        seed=seed,
        precision=precision,
        verbose=verbose,
    )
    return Scan(
        _anomalies(triggers, classes, len(references)),
        triggers,
        shares,
        epsilon,
    )


def _classes_to_search(classifier, clean, classes, shares, seed, precision):
    """Classes to compare with, and further ones that a backdoor may target.

    All are compared with each other where they are few. Of many the most
    easily reached and the one that gathers most errors are candidates, and
    others drawn at random are what is usual.
    """
    if classes <= _CANDIDATES + _REFERENCES:
        return range(classes), ()
    ranked = patch_inversion.rank_classes(
        classifier, clean, classes=classes, seed=seed, precision=precision
    ).tolist()
    gathering = int(np.argmax(shares))
    ranked.remove(gathering)
    candidates = [gathering, *ranked[: _CANDIDATES - 1]]
    rest = ranked[_CANDIDATES - 1 :]
    drawn = np.random.default_rng(seed).choice(rest, _REFERENCES, replace=False)
    return sorted(drawn.tolist()), candidates


def _anomalies(triggers, classes, references):
    """The anomaly of each class, NaN where there is no trigger of it."""
    anomalies = np.full(classes, np.nan)
    anomalies[triggers.targets] = patch_inversion.anomaly_scores(
        triggers.sizes, triggers.success, references=references
    )
    return anomalies


def _limit(of_ten, classes):
    """What the largest of `classes` normal numbers exceeds as seldom."""
    by_chance = 1.0 - _NORMAL.cdf(of_ten)
    return _NORMAL.inv_cdf(
        1.0 - by_chance * _OF_CLASSES / max(classes, _OF_CLASSES)
    )
