"""BadNets, Blend and SIG: training on images stamped with a fixed trigger.

Their triggers are in `triggers.py`. Training without attack is here as well.
"""


def train_clean(run):
    return run.train_fresh(run.images), None


def train_poisoned(run):
    """The attack of an `AttackRun`: its classifier, and what was poisoned."""
    poisoned, poisoning = run.poison(
        run.images, run.make_trigger(run.image_shape)
    )
    return run.train_fresh(poisoned), poisoning
