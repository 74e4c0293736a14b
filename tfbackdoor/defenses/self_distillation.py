"""Self-distillation: wins back on clean images what pruning cost."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor.defenses import attention
from tfbackdoor.defenses import distillation
from tfbackdoor.defenses import inversion as inversion_module
from tfbackdoor.defenses import inverted_triggers
from tfbackdoor.defenses import pruning
from tfbackdoor.network import batch_size
from tfbackdoor.network import copying
from tfbackdoor.training import classifier_training
from tfbackdoor.training import optimizers

_TRIGGERS_A_CLASS = 6
_TRIGGER_RATE = 0.1
_WARM_UP = 100
_FEW = 10


def self_distill(
    pruned_classifier: keras.Model,
    original: keras.Model,
    clean: tf.data.Dataset,
    pruned: dict[str, np.ndarray],
    *,
    triggers: inverted_triggers.InvertedTriggers | None = None,
    max_share: float | Sequence[float] = 0.03,
    max_opacity: float = 0.0,
    match_features: bool = False,
    mixup: float = 0.0,
    batch_statistics: bool = True,
    steps: int = 300,
    learning_rate: float = 0.01,
    optimizer: keras.optimizers.Optimizer | None = None,
    seed: int = 0,
    precision: str | None = None,
    train_frozen: bool = True,
    verbose="auto",
) -> keras.Model:
    """A copy of a pruned classifier that has won its accuracy back.

    The classifier before pruning teaches the pruned one what it answers on
    clean images, where it answers well; without a trigger among them it
    cannot teach the backdoor, and the pruned neurons stay at zero. For the
    classes that a backdoor may target, patches that turn images to them are
    searched all the while, from those given and from random ones, and
    unlearned, while the scores of these classes are kept on clean images.

    Args:
        pruned_classifier: what `prune_neurons` left; it is not changed.
        original: the classifier before pruning; it is not changed.
        clean: endless batched data set of clean `(images, labels)` in [0, 1].
        pruned: the pruned neurons, as `prune_neurons` gives them.
        triggers: of the classes that a backdoor may target, such as
            `scan.triggers.of(scan.suspects)`; default none.
        max_share: float in (0, 1], or one for each trigger: the pixels that
            patches for its class may replace.
        max_opacity: float in [0, 1], of blends over all pixels that are
            unlearned beside the patches, 0 for none.
        match_features: bool, whether the teacher's last feature maps of the
            three smallest resolutions are matched, or its scores alone.
        mixup: float in [0, 1], see `Distillation`.
        batch_statistics: bool, see `Distillation`.
        steps: int > 0, batches.
        learning_rate: float > 0 at the start; falls to 0 along a cosine.
        optimizer: in place of SGD at that rate with Nesterov momentum 0.9 and
            weight decay 1e-4.
        seed: int, where the triggers start, and of the blends.
        precision, train_frozen: see `ClassifierTraining`.
        verbose: Keras' verbosity.
    """
    recovered = copying.copy_classifier(pruned_classifier)
    inversion = None
    if triggers is not None and len(triggers.targets):
        inversion = _warm_inversion(
            recovered,
            triggers,
            clean,
            max_share=max_share,
            max_opacity=max_opacity,
            steps=steps,
            seed=seed,
            precision=precision,
        )
    fit = distillation.Distillation(
        recovered,
        original,
        taps=attention.last_feature_maps(recovered) if match_features else (),
        mixup=mixup,
        batch_statistics=batch_statistics,
        inversion=inversion,
        protected=() if triggers is None else triggers.targets,
        seed=seed,
        precision=precision,
        train_frozen=train_frozen,
    )
    if optimizer is None:
        rate = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
        optimizer = optimizers.CoupledSGD(rate, nesterov=True, l2=1e-4)
    fit.compile(optimizer)
    fit.fit(
        clean,
        steps_per_epoch=steps,
        callbacks=[
            classifier_training.StopOnNaN(),
            pruning.HoldPruned(recovered, pruned),
        ],
        verbose=verbose,
    )
    return recovered


def _warm_inversion(
    classifier,
    triggers,
    clean,
    *,
    max_share,
    max_opacity,
    steps,
    seed,
    precision,
):
    """The triggers and random ones for each target, that already turn images.

    They get at most as many batches as recovery has. Every other round of
    random ones are blends, where blends are wanted.
    """
    count = len(triggers.targets)
    blends = np.repeat(np.arange(_TRIGGERS_A_CLASS) % 2 == 1, count)
    blends &= max_opacity > 0.0
    inversion = inversion_module.TriggerInversion(
        classifier,
        np.tile(triggers.targets, _TRIGGERS_A_CLASS),
        penalty=0.0,
        max_share=np.where(
            blends,
            1.0,
            np.tile(np.broadcast_to(max_share, count), _TRIGGERS_A_CLASS),
        ),
        max_opacity=np.where(blends, max_opacity, 1.0),
        seed=seed,
        precision=precision,
    )
    inversion.start_from(triggers)
    inversion.compile(
        keras.optimizers.Adam(_TRIGGER_RATE, beta_1=0.5, beta_2=0.9)
    )
    most = batch_size.batch_size_for(classifier, training=True)
    few = max(1, min(_FEW, most // len(inversion.targets)))
    batches = clean.map(lambda x, y: (x[:few], y[:few]))
    inversion.fit(batches, steps_per_epoch=min(_WARM_UP, steps), verbose=0)
    return inversion
