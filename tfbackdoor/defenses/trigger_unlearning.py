"""Recovery of a pruned classifier that unlearns the triggers of suspects."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor import evaluation
from tfbackdoor import rates
from tfbackdoor.attacks import generators
from tfbackdoor.data import sampling
from tfbackdoor.defenses import inverted_triggers
from tfbackdoor.defenses import self_distillation
from tfbackdoor.network import batch_size
from tfbackdoor.network import classifiers
from tfbackdoor.training import run_settings

_BATCH_SIZE = 64
_BREAKDOWN = 0.1
_GENTLER = (1.0, 0.1, 0.01)
# Patches far larger than the one that was found are no backdoor's: they work
# by what the class looks like, which must not be unlearned. Settled on the
# recall of a target class, see docs/lab/results.md, "Unlearning".
_TIMES_FOUND = 6.0
_AT_WORK = 0.05
# Each step costs the target class some of its recall, see there.
_SHARE_OF_STEPS = 1 / 8


@dataclasses.dataclass(frozen=True, eq=False)
class Recovery:
    """A recovered classifier, and how that went.

    Args:
        classifier: the recovered copy.
        learning_rate: float > 0, the one that was taken in the end.
        loss: what recovery and pruning cost on the held-out images.
    """

    classifier: keras.Model
    learning_rate: float
    loss: rates.AccuracyLoss

    @property
    def broke_down(self) -> bool:
        """Whether the gentlest learning rate still cost over 10 points."""
        return self.loss.value > _BREAKDOWN


def still_at_work(
    classifier: keras.Model,
    triggers: inverted_triggers.InvertedTriggers,
    judge: tf.data.Dataset,
) -> inverted_triggers.InvertedTriggers:
    """The triggers that turn over a twentieth of others' images to a class.

    Of images that are neither of that class nor taken for it without a trigger.

    Args:
        classifier: built Keras classifier.
        triggers: those to try.
        judge: unbatched clean `(image, label)`.
    """
    before, labels = classifiers.answers_of(classifier, judge)
    works = [
        _success(classifier, judge, (before != k) & (labels != k), k, *trigger)
        > _AT_WORK
        for k, *trigger in zip(
            triggers.targets, triggers.masks, triggers.patterns
        )
    ]
    return triggers.of(triggers.targets[np.array(works, bool)])


def steps_within(
    steps: int, at_work: inverted_triggers.InvertedTriggers
) -> int:
    """All steps where a trigger still works, an eighth of them where none does.

    Args:
        steps: int >= 1, the most.
        at_work: those of the suspects that still work, see `still_at_work`.
    """
    if len(at_work.targets):
        return steps
    return max(1, round(_SHARE_OF_STEPS * steps))


def _success(classifier, images, others, target, mask, pattern):
    """The share of the other images that a trigger turns to its target."""

    def stamp(image, label):
        return generators.blend(image, pattern, mask), label

    answers, _ = classifiers.answers_of(classifier, images.map(stamp))
    return np.mean(answers[others] == target) if others.any() else 0.0


def recover(
    pruned_classifier: keras.Model,
    original: keras.Model,
    optimise: tf.data.Dataset,
    judge: tf.data.Dataset,
    run: run_settings.RunSettings,
    *,
    pruned: dict[str, np.ndarray],
    triggers: inverted_triggers.InvertedTriggers,
    steps: int,
    learning_rate: float,
    max_share: float,
    max_opacity: float,
    mixup: float,
) -> Recovery:
    """Wins accuracy back and unlearns triggers, see `self_distill`.

    Ever more gently where that breaks the classifier: weights that meet large
    inputs without a normalisation tolerate no rate that suits others.

    Args:
        pruned_classifier: what `prune_neurons` left; it is not changed.
        original: the classifier before pruning; it is not changed.
        optimise: unbatched clean images.
        judge: unbatched clean images that `optimise` does not hold.
        run: how images are drawn, and how it computes.
        pruned: the pruned neurons, as `prune_neurons` gives them.
        triggers: of the suspected classes, may be none.
        steps: int > 0, batches.
        learning_rate: float > 0, Adam's, which falls to 0; a tenth of it,
            then a hundredth, where that costs over 10 points on `judge`.
        max_share: float in (0, 1], pixels of the patches that are unlearned,
            but no more than six times those of the trigger that was found.
        max_opacity: float in [0, 1], of the blends that are unlearned where
            no patch of that share does.
        mixup: float in [0, 1], see `Distillation`.
    """
    before = evaluation.evaluate(original, judge)
    weights = _balancing_weights(optimise, triggers.targets)
    images = batch_size.batch_size_for(
        original, most=_BATCH_SIZE, training=True
    )
    for factor in _GENTLER:
        rate = factor * learning_rate
        recovered = self_distillation.self_distill(
            pruned_classifier,
            original,
            run.batches(optimise, images, replacement=True, weights=weights),
            pruned,
            triggers=triggers,
            max_share=_shares(triggers, max_share),
            max_opacity=_opacity(triggers, max_share, max_opacity),
            match_features=True,
            mixup=mixup,
            batch_statistics=False,
            steps=steps,
            optimizer=keras.optimizers.Adam(
                keras.optimizers.schedules.CosineDecay(rate, steps)
            ),
            seed=run.seed,
            precision=run.precision,
            train_frozen=run.train_frozen,
            verbose=run.verbose,
        )
        after = evaluation.evaluate(recovered, judge)
        recovery = Recovery(recovered, rate, rates.accuracy_loss(before, after))
        if not recovery.broke_down:
            break
    return recovery


def _shares(triggers, max_share):
    """For each trigger the pixels of the patches that are unlearned."""
    found = triggers.masks.mean(axis=(1, 2, 3))
    return np.minimum(max_share, _TIMES_FOUND * found)


def _opacity(triggers, max_share, max_opacity):
    """Of the blends: triggers that no patch makes need more than patches."""
    share = np.min(triggers.masks.mean(axis=(1, 2, 3)), initial=1.0)
    return 0.0 if share <= max_share else max_opacity


# Half: settled while looking at attack success, see docs/lab/results.md,
# "`purify` on backdoored classifiers".
def _balancing_weights(images, targets):
    """Half of the images are of the classes whose triggers are unlearned.

    Else unlearning what turns images to a class of few unlearns the class.
    """
    of_targets = np.isin(sampling.labels_of(images), targets)
    share = np.mean(of_targets)
    if not 0.0 < share < 0.5:
        return None
    return np.where(of_targets, 0.5 / share, 0.5 / (1.0 - share))
