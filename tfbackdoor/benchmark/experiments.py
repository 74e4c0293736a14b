"""What a benchmark does in each trial of its grid: attack, defend, score."""

import dataclasses
import gc
import pathlib
import warnings
from collections.abc import Callable
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor import evaluation
from tfbackdoor.attacks import poisoning as poisoning_module
from tfbackdoor.benchmark import trials
from tfbackdoor.data import sampling
from tfbackdoor.defenses import outcome_warnings
from tfbackdoor.files import atomic
from tfbackdoor.network import devices
from tfbackdoor.network import loading
from tfbackdoor.training import checkpoints

_CLASSIFIER = "classifier.keras"
_POISONING = "poisoning.json"
_DETAILS = "details.json"


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Benchmark:
    """The work of a grid, as `run_grid` takes it: `attack` and `defend`.

    A seed draws the attacker's images and the defender's, which are disjoint;
    the clean images of a small share are among those of a larger one. Test
    images only score. Within `resumable` an attack that was given a clean
    classifier does not take up what it did when it had to train one.

    Args:
        train: unbatched data set of `(image, label)`, images in [0, 1].
        test: the same of test images.
        build: function of `(image_shape, classes)` that gives a fresh
            classifier.
        tracks: the track of each image of `train`, none of which is in two
            parts; None where all images differ.
        attacker_share: float in (0, 1), of the training images (0.9 in the
            papers).
        train_attacked: function of `(attack, build, train, seed=,
            clean_classifier=, **settings)` that gives a classifier and its
            `Poisoning` or None.
        defend_classifier: function of `(defense, classifier, clean, seed=,
            **settings)` that gives a `DefenseResult`.
        attack_settings: dict, further arguments of `train_attacked`.
        defense_settings: dict, further arguments of `defend_classifier`.
        settings_of: from defense to a dict of further arguments for it alone.
        save_purified: bool, whether `classifier.keras` of each defense is
            kept, as that of each attack is.
        clean_from: folder of a grid with the same settings, or None. The
            classifiers that its attack `"none"` left are the
            `clean_classifier` of attacks of the same seed.
    """

    train: tf.data.Dataset
    test: tf.data.Dataset
    build: Callable
    train_attacked: Callable
    defend_classifier: Callable
    tracks: np.ndarray | None = None
    attacker_share: float = 0.9
    attack_settings: dict = dataclasses.field(default_factory=dict)
    defense_settings: dict = dataclasses.field(default_factory=dict)
    settings_of: dict[str, dict] = dataclasses.field(default_factory=dict)
    save_purified: bool = True
    clean_from: pathlib.Path | None = None

    def attack(self, trial: trials.Trial, folder: pathlib.Path) -> dict:
        """Trains the attacked classifier; writes it and what was poisoned."""
        # Before the seed is set: a loaded model draws from the same stream.
        clean_classifier = self._clean_classifier(trial.seed)
        if clean_classifier is not None:
            checkpoints.take_branch("given_clean")
        _start_afresh(trial.seed)
        attacker, _ = self._split(trial.seed, 0.0)
        classifier, poisoning = self.train_attacked(
            trial.attack,
            self.build,
            sampling.select(self.train, attacker),
            seed=trial.seed,
            clean_classifier=clean_classifier,
            **self.attack_settings,
        )
        classifier.save(folder / _CLASSIFIER)
        if poisoning is not None:
            poisoning.save(folder)
        return self._score(classifier, poisoning)

    def defend(
        self,
        trial: trials.Trial,
        attacked: pathlib.Path,
        folder: pathlib.Path,
    ) -> dict:
        """Purifies the classifier in the folder `attacked`.

        Writes what the defense chose beside it.
        """
        _start_afresh(trial.seed)
        classifier = loading.load_classifier(attacked / _CLASSIFIER)
        poisoning = None
        if (attacked / _POISONING).is_file():
            poisoning = poisoning_module.Poisoning.load(attacked)
        _, clean = self._split(trial.seed, trial.share)
        with warnings.catch_warnings():
            # The details say what looks odd.
            warnings.simplefilter("ignore", outcome_warnings.DefenseWarning)
            outcome = self.defend_classifier(
                trial.defense,
                classifier,
                sampling.in_memory(sampling.select(self.train, clean)),
                tracks=None if self.tracks is None else self.tracks[clean],
                seed=trial.seed,
                **self.defense_settings,
                **self.settings_of.get(trial.defense, {}),
            )
        atomic.write_json(folder / _DETAILS, outcome.to_json())
        if self.save_purified:
            outcome.classifier.save(folder / _CLASSIFIER)
        return self._score(outcome.classifier, poisoning)

    def check_shares(self, shares: Sequence[float]) -> None:
        """Raises ValueError where a share leaves no image or takes too many."""
        for share in shares:
            _, clean = self._split(0, share)
            if not len(clean):
                raise ValueError(
                    "`shares` must each give at least one image. "
                    f"Received: {share}"
                )

    def _clean_classifier(self, seed):
        """The one that clean training of that seed left, None without it."""
        trial = trials.Trial("none", seed)
        root = self.clean_from
        if root is None or trials.read(root, trial).state != "finished":
            return None
        return loading.load_classifier(trial.folder(root) / _CLASSIFIER)

    def _split(self, seed, share):
        """Positions of the attacker's images and of the defender's."""
        return sampling.split_positions(
            self.train,
            [self.attacker_share, float(share)],
            seed=seed,
            tracks=self.tracks,
        )

    def _score(self, classifier, poisoning):
        # As they were trained on, however bad they may have become.
        return evaluation.evaluate(
            classifier, self.test, poisoning, preprocess="[0, 1]"
        ).to_json()


def _start_afresh(seed):
    """Makes a trial independent of what this process did before."""
    keras.utils.clear_session()
    gc.collect()
    devices.set_seed(seed)
