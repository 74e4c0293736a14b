"""What a purification did and what it costs, in sentences."""

from collections.abc import Sequence

from tfbackdoor import rates
from tfbackdoor import scan as scan_module
from tfbackdoor.defenses import anp
from tfbackdoor.defenses import harden
from tfbackdoor.defenses import trigger_unlearning


def verdict(
    found: scan_module.Scan,
    pruned: anp.Pruned | None,
    hardened: harden.Hardened | None,
    unlearned: list[int],
    left: Sequence[int],
    scores: dict[str, rates.Scores],
) -> str:
    """What the scan says, what was done, and its cost.

    Args:
        found: what the scan found.
        pruned, hardened: these steps, None of one left out.
        unlearned: classes whose triggers were unlearned.
        left: classes whose triggers still work.
        scores: `"before"` and `"purified"` on the same images.
    """
    done = []
    if pruned:
        done.append(f"{pruned.count} neurons were pruned")
    if hardened and hardened.share:
        done.append("the classifier was hardened")
        gone = [k for k in found.suspects if k not in (*unlearned, *left)]
        if gone:
            done.append(f"triggers found for {_classes(gone)} work no more")
    if unlearned:
        done.append(f"triggers of {_classes(unlearned)} were unlearned")
    said = f"The scan says: {found}."
    if not done:
        return f"{said} The classifier was left as it is."
    loss = rates.accuracy_loss(scores["before"], scores["purified"])
    did = ", and ".join(done)
    return (
        f"{said} {did[0].upper()}{did[1:]}, at a cost of {loss} of clean "
        "accuracy."
    )


def _classes(labels):
    plural = "es" if len(labels) > 1 else ""
    return f"class{plural} {', '.join(map(str, labels))}"


def warnings(
    hardened: harden.Hardened | None,
    recovery: trigger_unlearning.Recovery | None,
    found: scan_module.Scan,
    left: Sequence[int],
) -> list[str]:
    """Sentences on steps that failed: hardening, unlearning, its success.

    Args: see `verdict`; `recovery` is the unlearning, or None.
    """
    sentences = []
    if len(left) and found.verdict == "backdoored":
        sentences.append(
            f"The triggers that the scan found for {_classes(left)} still turn "
            "over a twentieth of the held-out images of other classes."
        )
    if hardened and not hardened.share:
        sentences.append(str(hardened))
    if recovery and recovery.broke_down:
        sentences.append(
            f"Unlearning costs {recovery.loss} of held-out accuracy even at a "
            f"learning rate of {recovery.learning_rate:g}: check the purified "
            "classifier before you use it."
        )
    return sentences
