"""Is a classifier backdoored, and which class is the target?"""

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor.data import sampling
from tfbackdoor.defenses import calibration
from tfbackdoor.defenses import perturbed_answers
from tfbackdoor.network import batch_size
from tfbackdoor.network import classifiers
from tfbackdoor.network import devices
from tfbackdoor.network import door
from tfbackdoor.network import public_call
from tfbackdoor.scanning import findings
from tfbackdoor.scanning import margins
from tfbackdoor.scanning import neuron_perturbation
from tfbackdoor.scanning import patch_inversion
from tfbackdoor.scanning import permutation
from tfbackdoor.scanning import waves
from tfbackdoor.training import setting_ranges

Scan = findings.Scan

# Each batch is perturbed in another way: many small ones tell most.
_PERTURBED_BATCH, _CALIBRATION_BATCHES = 32, 8
# Of more classes than both together only these are searched to the end.
_CANDIDATES, _REFERENCES = 6, 14
# A number per class each, whatever else the scan found.
_SIGNALS = {
    "margins": margins.largest_margins,
    "wave_answers": waves.wave_answers,
    "one_to_one": permutation.one_to_one_shares,
}


@public_call.public_call
def scan(
    classifier: keras.Model,
    clean: tf.data.Dataset,
    *,
    steps: int = 150,
    epsilon: float | None = None,
    preprocess=None,
    output: str | None = None,
    seed: int = 0,
    precision: str | None = None,
    verbose="auto",
) -> findings.Scan:
    """Looks for a backdoor, with clean images alone.

    A backdoor is a short cut, and each signal sees another side of it:

    - `smallest_triggers`: the patch that turns images of all other classes to
      a target is far smaller than that of any other class;
    - `largest_margins`: gradient ascent takes images farther into a target
      than into others, whatever the trigger is;
    - `wave_answers`: faint waves over the whole image, as SIG has them;
    - `one_to_one_shares`: one small trigger that sends each class to another
      one, as all-to-all attacks have it;
    - `error_shares`: errors under ANP's neuron perturbation gather in a
      target.

    `Scan.verdict` says how they are weighed. A classifier whose every class
    is the target of its own trigger, or that has fewer than 4 classes, gives
    nothing to compare with.

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
        precision: `"float32"` or `"mixed_bfloat16"`, default the device's.
        verbose: Keras' verbosity.

    Raises:
        TypeError: where the classifier or the images are of another kind.
        ValueError: where they will not do, or accuracy is at chance.
    """
    setting_ranges.check({"steps": steps, "epsilon": epsilon, "seed": seed})
    devices.check_precision(precision)
    admitted = door.admit(
        classifier,
        clean,
        output=output,
        preprocess=preprocess,
        differentiable=True,
    )
    classifier, clean = admitted.classifier, admitted.images
    classes = classifiers.class_count(classifier)
    precision = precision or devices.default_precision()
    batches = sampling.training_batches(
        clean,
        batch_size.batch_size_for(
            classifier, most=_PERTURBED_BATCH, training=True
        ),
        seed=seed,
        replacement=True,
    )
    probe = perturbed_answers.PerturbedAnswers(
        classifier, seed=seed, precision=precision
    )
    if epsilon is None:
        epsilon = calibration.find_epsilon(
            probe, batches, count=_CALIBRATION_BATCHES
        )
    shares = neuron_perturbation.find_error_shares(probe, batches, epsilon)
    references, candidates = _classes_to_search(
        classifier,
        clean,
        classes,
        shares,
        steps=steps,
        seed=seed,
        precision=precision,
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
    return findings.Scan(
        _anomalies(triggers, classes, len(references)),
        triggers,
        shares,
        epsilon,
        **{
            name: signal(classifier, clean, seed=seed, precision=precision)
            for name, signal in _SIGNALS.items()
        },
    )


def _classes_to_search(
    classifier, clean, classes, shares, *, steps, seed, precision
):
    """Classes to compare with, and further ones that a backdoor may target.

    All are compared with each other where they are few. Of many the most
    easily reached and the one that gathers most errors are candidates, and
    others drawn at random are what is usual.
    """
    if classes <= _CANDIDATES + _REFERENCES:
        return range(classes), ()
    ranked = patch_inversion.rank_classes(
        classifier,
        clean,
        classes=classes,
        steps=steps,
        seed=seed,
        precision=precision,
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
        triggers.mean_sizes, triggers.success, references=references
    )
    return anomalies
