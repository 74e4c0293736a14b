"""Training on poisoned images: BadNets, Blend, SIG and whatever has a trigger.

Their triggers are in `triggers.py`, those of WaNet, BPP and Adaptive-Blend in
the files of these names. Training without attack is here as well.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from tfbackdoor.attacks import poisoning as poisoning_module
from tfbackdoor.data import sampling

_BATCH = 256


def train_clean(run):
    """Training without attack, for an `AttackRun`."""
    return run.train_fresh(run.images), None


def train_poisoned(run):
    """Training on images of which some are stamped."""
    poisoned, poisoning = run.poison(
        run.images, run.make_trigger(run.image_shape)
    )
    return run.train_fresh(poisoned), poisoning


def poison(
    images: tf.data.Dataset, poisoning: poisoning_module.Poisoning
) -> tuple[tf.data.Dataset, poisoning_module.Poisoning]:
    """Poisons a share of a training set.

    Args:
        images: unbatched data set of `(image, label)` of known cardinality.
        poisoning: the attack; its `indices` and `covers` are ignored.

    Returns:
        The poisoned data set, in the same order, and `poisoning` with the
        positions of the poisoned images and of the covers.

    Raises:
        ValueError: where no image is eligible, or too few are left as covers.
    """
    trigger = poisoning.trigger
    if poisoning.cover_ratio and not hasattr(trigger, "cover"):
        raise ValueError(
            "`trigger` must have a method `cover` where `cover_ratio` is not "
            f"0. Received: a {type(trigger).__name__}"
        )
    labels = sampling.labels_of(images)
    indices, covers = _choose(labels, poisoning)
    is_poisoned, is_cover = (
        tf.constant(np.isin(np.arange(len(labels)), places))
        for places in (indices, covers)
    )

    def poison_batch(numbers, element):
        images, labels = element
        poisoned = tf.gather(is_poisoned, numbers)
        stamp = getattr(trigger, "in_training", trigger)
        images = _stamped(images, poisoned, stamp)
        if poisoning.cover_ratio:
            covered = tf.gather(is_cover, numbers)
            images = _stamped(images, covered, trigger.cover)
        attacked = poisoning.attacked_labels(labels)
        return images, tf.where(poisoned, attacked, labels)

    # In batches, since some triggers take as long for one image as for many.
    poisoned = (
        images.enumerate()
        .batch(_BATCH)
        .map(poison_batch, num_parallel_calls=tf.data.AUTOTUNE)
        .unbatch()
        .apply(tf.data.experimental.assert_cardinality(len(labels)))
    )
    return poisoned, dataclasses.replace(
        poisoning, indices=indices, covers=covers
    )


def _stamped(images, chosen, stamp):
    """`images` with those that are chosen stamped."""

    def stamp_chosen():
        places = tf.where(chosen)
        stamped = stamp(tf.boolean_mask(images, chosen))
        return tf.tensor_scatter_nd_update(images, places, stamped)

    return tf.cond(tf.reduce_any(chosen), stamp_chosen, lambda: images)


def _choose(labels, poisoning):
    """Sorted random positions of the poisoned images and of the covers."""
    if poisoning.mode == "all_to_one":
        eligible = np.flatnonzero(labels != poisoning.target)
    elif poisoning.mode == "clean_label":
        eligible = np.flatnonzero(labels == poisoning.target)
    else:
        eligible = np.arange(len(labels))
    count = round(poisoning.rate * len(eligible))
    if count == 0:
        raise ValueError(
            "`rate` must poison at least one image. Received: "
            f"rate={poisoning.rate} of {len(eligible)} eligible images"
        )
    rng = np.random.default_rng(poisoning.seed)
    indices = np.sort(rng.choice(eligible, count, replace=False))
    others = np.setdiff1d(np.arange(len(labels)), indices)
    covers = round(poisoning.cover_ratio * count)
    if covers > len(others):
        raise ValueError(
            "`cover_ratio` must leave an image for each cover. Received: "
            f"cover_ratio={poisoning.cover_ratio}, {covers} covers of "
            f"{len(others)} images that are not poisoned"
        )
    return indices, np.sort(rng.choice(others, covers, replace=False))
