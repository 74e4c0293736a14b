"""What the steps of a purification left, and the report on it."""

import dataclasses
import time

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor import evaluation
from tfbackdoor import purify_steps
from tfbackdoor import rates
from tfbackdoor import scan as scan_module
from tfbackdoor.attacks import poisoning as poisoning_module
from tfbackdoor.data import sampling
from tfbackdoor.defenses import anp
from tfbackdoor.defenses import harden
from tfbackdoor.defenses import outcome_warnings
from tfbackdoor.network import value_range
from tfbackdoor.report import evidence
from tfbackdoor.report import outcome_sentences
from tfbackdoor.report import report
from tfbackdoor.training import run_settings

_SAMPLES = 8
_NO_PRUNING = "Pruning was not asked for."


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Purification:
    """What the steps of a purification found and left.

    Args:
        original: the classifier before.
        purified: what the last step left.
        scan: what the scan found.
        pruning: what ANP pruned, if it was asked for.
        hardened: that step, None where it was left out.
        unlearned: what unlearning did.
        retuned: a copy after the retuning attack, or None.
        threshold: the pruning threshold that was given, or None.
    """

    original: keras.Model
    purified: keras.Model
    scan: scan_module.Scan
    pruning: purify_steps.Pruning
    hardened: harden.Hardened | None
    unlearned: purify_steps.Unlearned
    retuned: keras.Model | None
    threshold: float | None

    @property
    def pruned(self) -> anp.Pruned | None:
        """The pruned copy, None where pruning was not asked for."""
        return self.pruning.pruned

    @property
    def first_and_last(self) -> dict[str, keras.Model]:
        """The classifier before and the purified one, by row name."""
        return {"before": self.original, "purified": self.purified}

    @property
    def rows(self) -> dict[str, keras.Model]:
        """The classifier before and after each step that changed it.

        At the end what the retuning attack makes of it, if that was asked for.
        """
        rows = {"before": self.original}
        if self.pruned and self.pruning.neurons:
            rows["pruned"] = self.pruned.classifier
        if self.hardened and self.unlearned.recovery:
            rows["hardened"] = self.hardened.classifier
        rows["purified"] = self.purified
        if self.retuned:
            rows["retuned"] = self.retuned
        return rows

    @property
    def chosen(self):
        """The point of ANP's curve that was taken, None where none was.

        The weakest point prunes nothing: it is no choice.
        """
        if self.pruned and (self.pruned.count or self.threshold is not None):
            return self.pruned.chosen
        return None


def report_on(
    done: Purification,
    *,
    clean: tf.data.Dataset,
    judge: tf.data.Dataset,
    test: tf.data.Dataset | None,
    poisoning: poisoning_module.Poisoning | None,
    oracle: bool,
    class_names: list[str] | None,
    settings: dict,
    values: value_range.ValueRange,
    run: run_settings.RunSettings,
    start: float,
) -> report.Report:
    """The report on a purification, with its scores.

    Args:
        done: what the steps left.
        clean: unbatched clean `(image, label)`, all that were given.
        judge: those of them that were held out.
        test: clean images that only score, or None.
        poisoning: the attack, to score by, or None.
        oracle: whether it had a say in the choice of the threshold.
        class_names: one name per class, or None.
        settings: those that were given, and those that were chosen.
        values: what the classifier's pixels are.
        run: how it computed, and when each step began.
        start: when all began, `time.monotonic`.
    """
    scores = _scores(done.rows, judge, poisoning)
    test_scores = {} if test is None else _scores(done.rows, test, poisoning)
    samples, labels = evidence.draw_samples(judge, _SAMPLES, seed=run.seed)
    unlearned = done.unlearned.targets
    suspected = done.scan.triggers.of(done.scan.suspects or unlearned)
    return report.Report(
        verdict=outcome_sentences.verdict(
            done.scan,
            done.pruned,
            done.hardened,
            unlearned,
            done.unlearned.left,
            test_scores or scores,
        ),
        warnings=_warnings(done, values, clean, scores, test_scores),
        scores=scores,
        scored_on=f"{sampling.cardinality(judge)} clean images held out from "
        "the optimisation (if the classifier was trained on them, they "
        "flatter it before)",
        test_scores=test_scores,
        curve=done.pruned.curve if done.pruned else [],
        chosen=done.chosen,
        chosen_because=done.pruned.because if done.pruned else _NO_PRUNING,
        oracle=oracle,
        neuron_masks=done.pruning.masks,
        pruned=done.pruning.neurons,
        hardening=str(done.hardened) if done.hardened else None,
        unlearned=unlearned,
        skipped=done.pruning.skipped,
        clean_images=np.bincount(
            sampling.labels_of(clean), minlength=len(done.scan.anomalies)
        ),
        samples=samples,
        sample_labels=labels,
        predictions=evidence.predict(done.first_and_last, samples),
        class_names=class_names,
        attention=evidence.attention_of_first(done.first_and_last, samples),
        scan=done.scan,
        found_triggers=evidence.find_triggers(
            done.first_and_last, suspected, samples, labels
        ),
        settings={**settings, "value_range": values.name},
        versions=report.versions(),
        steps=_durations(start, run.begun, time.monotonic()),
        seed=run.seed,
        seconds=time.monotonic() - start,
        peak_memory=report.peak_memory(),
    )


def _warnings(
    done: Purification,
    values: value_range.ValueRange,
    clean: tf.data.Dataset,
    scores: dict[str, rates.Scores],
    test_scores: dict[str, rates.Scores],
) -> list[str]:
    of_outcome = outcome_warnings.outcome_warnings(
        done.original,
        done.purified,
        clean,
        done.pruning.masks,
        {"held-out": scores, "test": test_scores},
    )
    of_steps = outcome_sentences.warnings(
        done.hardened,
        done.unlearned.recovery,
        done.scan,
        done.unlearned.left,
    )
    of_pixels = [values.doubt] if values.doubt else []
    return of_pixels + of_outcome + of_steps


def _scores(rows, images, poisoning):
    return {
        name: evaluation.evaluate(row, images, poisoning)
        for name, row in rows.items()
    }


def _durations(start, begun, end):
    """Each step with its seconds, from when each began."""
    names, begins = zip(("Looking at classifier and images", start), *begun)
    ends = (*begins[1:], end)
    return [
        (name, until - since) for name, since, until in zip(names, begins, ends)
    ]
