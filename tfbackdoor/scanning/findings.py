"""What the signals of a scan say together: verdict, suspects, probability."""

import dataclasses
import functools
import math

import numpy as np

from tfbackdoor.defenses import inverted_triggers
from tfbackdoor.scanning import limits
from tfbackdoor.scanning import outliers

_LEAST_MARGIN, _LEAST_MARGIN_SPREAD = 1e-3, 0.15
_MOST_STRENGTH = 2.0
_MOST_SUSPECTS = 3
_FEWEST_CLASSES = 4
_SUCCEEDED = 0.5
_LOOKED_FOR = (
    "no class has an unusually small patch, an unusually large margin or a "
    "faint wave that turns images to it, errors under neuron perturbation "
    "gather in none, and no small trigger permutes the classes. Other "
    "triggers may be there"
)
# `python benchmarks/scan_rates.py --rows docs/lab/scan_rule.csv --fit`
_INTERCEPT, _SLOPE = -4.94, 2.56


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
        margins: `(classes,)` floats, see `largest_margins`, or None.
        wave_answers: `(classes,)` floats, see `wave_answers`, or None.
        one_to_one: `(classes,)` floats, see `one_to_one_shares`, or None.

    Reference: Iglewicz & Hoaglin, How to Detect and Handle Outliers, 1993, for
    the 3.5.
    """

    anomalies: np.ndarray
    triggers: inverted_triggers.InvertedTriggers
    error_shares: np.ndarray
    epsilon: float
    margins: np.ndarray | None = None
    wave_answers: np.ndarray | None = None
    one_to_one: np.ndarray | None = None

    @property
    def limits(self) -> tuple[float, float]:
        """Anomalies above which a class is unusual, and extreme.

        2.5 and 3.5 among ten classes; among more the largest is larger by
        chance alone, so that the limits rise to be met by chance as seldom.
        """
        return self._limits_of("patch")

    @property
    def margin_anomalies(self) -> np.ndarray:
        """`(classes,)` floats, how far a margin's logarithm lies above usual.

        In robust standard deviations of those above the median. 0 where
        gradient ascent reaches fewer than half of the classes: what is usual
        is then not known.
        """
        if self.margins is None or np.median(self.margins) <= 0.0:
            return np.zeros(len(self.anomalies))
        logs = np.log(np.maximum(self.margins, _LEAST_MARGIN))
        return outliers.above_median(logs, least_spread=_LEAST_MARGIN_SPREAD)

    @functools.cached_property
    def strengths(self) -> dict[str, np.ndarray]:
        """From signal to `(classes,)` floats, 0 to 2, extreme from 1 on.

        `"patch"`, `"margin"`, `"wave"`, `"permutation"`, the same for all
        classes, and `"errors"`, which alone prove nothing.
        """
        none = np.zeros(len(self.anomalies))
        waves, one_to_one = (
            none if values is None else values
            for values in (self.wave_answers, self.one_to_one)
        )
        found = {
            "patch": np.nan_to_num(self.anomalies),
            "margin": self.margin_anomalies,
            "wave": waves,
            "permutation": none + np.mean(one_to_one),
            "errors": np.nan_to_num(self.error_shares),
        }
        return {
            name: np.clip(
                values / self._limits_of(name)[1], 0.0, _MOST_STRENGTH
            )
            for name, values in found.items()
        }

    @property
    def verdict(self) -> str:
        """`"backdoored"`, `"suspicious"` or `"nothing found"`.

        Backdoored: a signal is extreme for a class (but errors alone prove
        nothing, and a margin must be a fifth larger than that), two are unusual
        for the same class, or all together are extreme for it. Suspicious: one
        is unusual, or all together. Nothing found: none is, which says nothing
        of triggers that none of them sees. A search in which no trigger
        succeeded, and fewer than 4 classes, are suspicious at best.
        """
        if len(self.anomalies) < _FEWEST_CLASSES or not self.succeeded:
            return "suspicious"
        if np.any(self._extreme) or np.any(self._unusual >= 2):
            return "backdoored"
        return "suspicious" if np.any(self._unusual) else "nothing found"

    @property
    def succeeded(self) -> bool:
        """Whether any trigger turned half of the images to its class."""
        return bool(np.any(self.triggers.success >= _SUCCEEDED))

    @property
    def gathered(self) -> int | None:
        """The class in which errors gather, None where they do not.

        60 % of them, and three times its share by chance.
        """
        largest = int(np.argmax(self.error_shares))
        gathers = self.error_shares[largest] >= self._limits_of("errors")[1]
        return largest if gathers else None

    @property
    def all_to_all(self) -> bool:
        """Whether one small trigger sends each class to another one."""
        return bool(self.strengths["permutation"][0] >= 1.0)

    @property
    def probability(self) -> float:
        """Of a backdoor, where half of the networks have one.

        `1 / (1 + exp(-(a + b * strength)))`; the verdict is a rule of its own.
        """
        return 1.0 / (1.0 + math.exp(-(_INTERCEPT + _SLOPE * self.strength)))

    @property
    def strength(self) -> float:
        """The largest sum of all signals' strengths for one class."""
        return float(self._together.max())

    @property
    def suspected(self) -> int | None:
        """The target class, None unless the verdict is backdoored.

        None, too, where the classes are permuted.
        """
        if self.verdict != "backdoored" or self.all_to_all:
            return None
        return self._order[0]

    @property
    def suspects(self) -> list[int]:
        """The classes worth unlearning triggers of, most suspicious first.

        The suspected class and others with an extreme signal; all where the
        classes are permuted; three where the verdict is suspicious; none
        where nothing was found. `triggers` may lack those of some.
        """
        verdict, order = self.verdict, self._order
        if verdict == "backdoored":
            return [k for k in order if k == order[0] or self._extreme[k]]
        return order[:_MOST_SUSPECTS] if verdict == "suspicious" else []

    @property
    def most_suspicious(self) -> int:
        """The class that the signals speak most against, whatever the verdict.

        A backdoor may be too faint for a verdict.
        """
        return self._order[0]

    @property
    def _together(self):
        return np.sum(list(self.strengths.values()), axis=0)

    @property
    def _order(self):
        """The classes, those with an extreme signal first."""
        ranks = self._together + 100.0 * self._extreme
        return np.argsort(-ranks, kind="stable").tolist()

    @property
    def _extreme(self):
        """`(classes,)`, whether a signal or all together are extreme."""
        together = self._together >= self._limits_together[1]
        return together | np.any(
            [v >= limits.PROVES_ALONE[k] for k, v in self.strengths.items()],
            axis=0,
        )

    @property
    def _unusual(self):
        """`(classes,)`, how many signals are unusual; one if together."""
        count = np.zeros(len(self.anomalies), int)
        for name, strength in self.strengths.items():
            unusual, extreme = self._limits_of(name)
            count += strength >= unusual / extreme
        return np.maximum(count, self._together >= self._limits_together[0])

    def __str__(self):
        if self.verdict == "backdoored":
            if self.all_to_all:
                return "backdoored; a small trigger permutes the classes"
            return f"backdoored; the target is class {self.suspected}"
        if self.verdict == "nothing found":
            return f"nothing found; {_LOOKED_FOR}"
        why = ""
        if not self.succeeded:
            why = "no trigger was found for any class; "
        return f"suspicious; {why}look at classes {self.suspects} first"

    def to_json(self) -> dict:
        """Dict of the verdict and, for each class, anomaly and trigger."""
        return {
            "verdict": self.verdict,
            "probability": self.probability,
            "suspected": self.suspected,
            "suspects": self.suspects,
            "all_to_all": self.all_to_all,
            "anomalies": [
                float(x) if np.isfinite(x) else None for x in self.anomalies
            ],
            "limits": list(self.limits),
            "searched": self.triggers.targets.tolist(),
            "trigger_pixels": self.triggers.sizes.tolist(),
            "trigger_success": self.triggers.success.tolist(),
            "error_shares": self.error_shares.tolist(),
            "epsilon": self.epsilon,
            "margins": _listed(self.margins),
            "wave_answers": _listed(self.wave_answers),
            "one_to_one": _listed(self.one_to_one),
            "strengths": {
                name: values.tolist() for name, values in self.strengths.items()
            },
        }

    @property
    def _limits_together(self):
        return limits.limits_together(len(self.anomalies))

    def _limits_of(self, signal):
        return limits.limits_of(signal, len(self.anomalies))


def _listed(values):
    return None if values is None else np.asarray(values, float).tolist()
