"""The steps of `purify` that are more than a call."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor.attacks import poisoning
from tfbackdoor.attacks import retuning
from tfbackdoor.defenses import anp
from tfbackdoor.defenses import trigger_unlearning
from tfbackdoor.network import batch_size
from tfbackdoor.scanning import findings
from tfbackdoor.training import run_settings

_ANP_BATCH = 128


@dataclasses.dataclass(frozen=True, eq=False)
class Pruning:
    """What pruning by ANP left, nothing where it was not asked for.

    Args:
        masks: from layer name to neuron mask.
        skipped: from layer name to the reason why it has no masks.
        pruned: the pruned copy and its curve, or None.
    """

    masks: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    skipped: dict[str, str] = dataclasses.field(default_factory=dict)
    pruned: anp.Pruned | None = None

    @property
    def neurons(self) -> dict[str, np.ndarray]:
        """From layer name to the indices of its pruned neurons."""
        return self.pruned.neurons if self.pruned else {}


def prune(
    classifier: keras.Model,
    optimise: tf.data.Dataset,
    judge: tf.data.Dataset,
    run: run_settings.RunSettings,
    *,
    threshold: float | None,
    max_accuracy_drop: float,
    oracle: poisoning.Poisoning | None,
    **settings,
) -> Pruning:
    """A copy, pruned as far as held-out images tolerate or as was asked for.

    Args:
        classifier: it is not changed.
        optimise: unbatched clean `(image, label)` to learn masks on.
        judge: those that are held out.
        run: how images are drawn, and how it computes.
        threshold, max_accuracy_drop, oracle: of `anp.prune`.
        **settings: of `anp.learn_masks`.

    Raises:
        ValueError: where a given threshold leaves no accuracy above chance.
    """
    run.announce(f"Learning neuron masks at epsilon {settings['epsilon']:.3g}")
    most = batch_size.batch_size_for(classifier, most=_ANP_BATCH, training=True)
    batches = run.batches(optimise, most, replacement=True)
    masks, skipped = anp.learn_masks(classifier, batches, run, **settings)
    run.announce("Scoring thresholds on held-out images")
    pruned = anp.prune(
        classifier,
        masks,
        judge,
        run,
        threshold=threshold,
        max_accuracy_drop=max_accuracy_drop,
        confident=True,
        oracle=oracle,
    )
    if pruned.chosen is None:
        raise ValueError(
            "`threshold` must leave accuracy above chance; from "
            f"{pruned.curve[-1].threshold} on it does not. Received: "
            f"threshold={threshold}"
        )
    return Pruning(masks, skipped, pruned)


@dataclasses.dataclass(frozen=True, eq=False)
class Unlearned:
    """A classifier that unlearned triggers.

    Args:
        classifier: it, or the one before where there was nothing to do.
        recovery: how that went, None where there was nothing to do.
        targets: the classes whose triggers were unlearned.
        left: the classes whose triggers still work.
    """

    classifier: keras.Model
    recovery: trigger_unlearning.Recovery | None
    targets: list[int]
    left: list[int]


def unlearn(
    found: findings.Scan,
    hardened: keras.Model,
    original: keras.Model,
    optimise: tf.data.Dataset,
    judge: tf.data.Dataset,
    run: run_settings.RunSettings,
    *,
    neurons: dict[str, np.ndarray],
    steps: int,
    max_share: float,
    **settings,
) -> Unlearned:
    """Unlearns the triggers of suspects; wins back what pruning cost.

    Where nothing was found the most suspicious class is the suspect.

    Args:
        found: what the scan found.
        hardened: what unlearns, a copy of it; it is not changed.
        original: the classifier before all, which teaches.
        optimise: unbatched clean `(image, label)`.
        judge: those that are held out.
        run: how images are drawn, and how it computes.
        neurons: those that were pruned, by layer.
        steps: int >= 0, the most batches, 0 for nothing to be done.
        max_share: float in (0, 1], pixels of the patches that are unlearned.
        **settings: of `trigger_unlearning.recover`.
    """
    suspects = found.suspects or [found.most_suspicious]
    suspected = found.triggers.of(suspects)
    at_work = trigger_unlearning.still_at_work(hardened, suspected, judge)
    triggers = suspected.of([])
    if steps:
        triggers = _worth_unlearning(found, suspected, at_work, max_share)
    if not steps or not (neurons or len(triggers.targets)):
        return Unlearned(hardened, None, [], at_work.targets.tolist())
    run.announce("Unlearning the triggers that were found")
    if not neurons:
        steps = trigger_unlearning.steps_within(steps, at_work)
    recovery = trigger_unlearning.recover(
        hardened,
        original,
        optimise,
        judge,
        run,
        pruned=neurons,
        triggers=triggers,
        steps=steps,
        max_share=max_share,
        **settings,
    )
    left = trigger_unlearning.still_at_work(
        recovery.classifier, suspected, judge
    )
    return Unlearned(
        recovery.classifier,
        recovery,
        [k for k in suspects if k in triggers.targets],
        left.targets.tolist(),
    )


def _worth_unlearning(found, triggers, at_work, max_share):
    """Those triggers of suspects that are small, or unusual and still work.

    A class of a clean classifier has large ones, by what it looks like: those
    of a class that another signal gave away are left, and of all classes at
    once.
    """
    worth = triggers.targets[triggers.masks.mean(axis=(1, 2, 3)) <= max_share]
    if not found.all_to_all:
        unusual = np.flatnonzero(found.anomalies >= found.limits[0])
        worth = [*worth, *at_work.of(unusual).targets]
    return triggers.of(worth)


def retune(
    purified: keras.Model,
    images: tf.data.Dataset,
    attack: poisoning.Poisoning,
    run: run_settings.RunSettings,
) -> keras.Model:
    """A copy that suffered the retuning attack, see `attacks.retune`."""
    run.announce("Retuning a copy, five images poisoned")
    return retuning.retune(
        purified,
        images,
        attack,
        flip=run.flip,
        padding=run.padding,
        seed=run.seed,
        precision=run.precision,
        train_frozen=run.train_frozen,
        verbose=run.verbose,
    )
