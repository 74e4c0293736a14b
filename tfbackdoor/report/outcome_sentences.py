"""What a purification did and what it costs, in sentences."""

from tfbackdoor import rates
from tfbackdoor import scan as scan_module
from tfbackdoor.defenses import anp
from tfbackdoor.defenses import harden
from tfbackdoor.defenses import trigger_unlearning


def verdict(
    found: scan_module.Scan,
    pruned: anp.Pruned | None,
    hardened: harden.Hardened | None,
    recovery: trigger_unlearning.Recovery | None,
    scores: dict[str, rates.Scores],
) -> str:
    """What the scan says, what was done, and its cost.

    Args:
        found: what the scan found.
        pruned, hardened, recovery: the steps, None of those left out.
        scores: `"before"` and `"purified"` on the same images.
    """
    done = []
    if pruned:
        done.append(f"{pruned.count} neurons were pruned")
    if hardened and hardened.share:
        done.append("the classifier was hardened")
    if recovery and found.suspects:
        classes = ", ".join(map(str, found.suspects))
        plural = "es" if len(found.suspects) > 1 else ""
        done.append(f"triggers of class{plural} {classes} were unlearned")
    said = f"The scan says: {found}."
    if not done:
        return f"{said} The classifier was left as it is."
    loss = rates.accuracy_loss(scores["before"], scores["purified"])
    did = ", and ".join(done)
    return (
        f"{said} {did[0].upper()}{did[1:]}, at a cost of {loss} of clean "
        "accuracy."
    )


def warnings(
    hardened: harden.Hardened | None,
    recovery: trigger_unlearning.Recovery | None,
) -> list[str]:
    """Sentences where no hardening was affordable, or unlearning costs much."""
    sentences = []
    if hardened and not hardened.share:
        sentences.append(str(hardened))
    if recovery and recovery.broke_down:
        sentences.append(
            f"Unlearning costs {recovery.loss} of held-out accuracy even at a "
            f"learning rate of {recovery.learning_rate:g}: check the purified "
            "classifier before you use it."
        )
    return sentences
