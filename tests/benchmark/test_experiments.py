"""What a trial of a benchmark hands to attacks."""

import dataclasses
import json
import random

import keras
import numpy as np
import planted
import pytest

import tfbackdoor
from tfbackdoor.benchmark import trials

_BADNETS = trials.Trial("badnets", 0)
_ANP = trials.Trial("badnets", 0, "anp", 0.1)
_draws = {}


class _Killed(BaseException):
    """As a signal would end a run."""


class _KillIn(keras.callbacks.Callback):
    """Ends a fit before that epoch, or never; notes the epochs begun."""

    def __init__(self, epoch, begun):
        super().__init__()
        self.epoch = epoch
        self.begun = begun

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise _Killed
        self.begun.append(epoch)


def _fit(classifier, images, callback):
    trainer = tfbackdoor.training.ClassifierTraining(classifier)
    trainer.compile(tfbackdoor.training.CoupledSGD(0.05))
    batches = tfbackdoor.training_batches(images, 20)
    trainer.fit(batches, epochs=3, verbose=0, callbacks=[callback])
    return classifier


def _train(attack, build, train, *, seed, clean_classifier):
    """Stands for training: planted weights, and a note of what was given."""
    _draws[attack, seed] = random.random()
    classifier = planted.classifier()
    given = 0.0
    if clean_classifier is not None:
        given = clean_classifier.get_weights()[0].flat[0]
    weights = classifier.get_weights()
    weights[0].flat[0] = given + 1.0
    classifier.set_weights(weights)
    return classifier, None


def _unfinished(benchmark, root, plan, **settings):
    return tfbackdoor.benchmark.run_grid(
        root,
        plan,
        benchmark.attack,
        benchmark.defend,
        settings={},
        say=lambda line: None,
        **settings,
    )


def _run(benchmark, root, plan, **settings):
    assert not _unfinished(benchmark, root, plan, **settings)


def _benchmark(defend, train=_train, **settings):
    images = planted.images(60)
    return tfbackdoor.benchmark.Benchmark(
        train=images,
        test=images,
        build=planted.classifier,
        train_attacked=train,
        defend_classifier=defend,
        **settings,
    )


def _first_weight(root, trial):
    path = trial.folder(root) / "classifier.keras"
    return tfbackdoor.load_classifier(path).get_weights()[0].flat[0]


def test_attacks_get_the_clean_classifier_of_their_seed(tmp_path):
    benchmark = _benchmark(tfbackdoor.defend, clean_from=tmp_path)
    plan = [
        trials.Trial("none", 0),
        trials.Trial("trojan", 0),
        trials.Trial("trojan", 1),
    ]
    _run(benchmark, tmp_path, plan)
    np.testing.assert_allclose(
        [_first_weight(tmp_path, trial) for trial in plan], [1.0, 2.0, 1.0]
    )
    # Loading it draws nothing from what the attack draws from.
    assert _draws["none", 0] == _draws["trojan", 0] != _draws["trojan", 1]


def test_a_defense_gets_its_own_settings_beside_the_common_ones(tmp_path):
    given = {}

    def defend(defense, classifier, clean, *, tracks, seed, **settings):
        given[defense] = settings
        return tfbackdoor.DefenseResult({"after": classifier}, {"chosen": 0.5})

    benchmark = _benchmark(
        defend,
        defense_settings={"flip": False},
        settings_of={"anp": {"epsilon": None}},
    )
    plan = tfbackdoor.benchmark.plan_grid(
        ["none"], ["anp", "nad"], seeds=[0], shares=[0.1]
    )
    _run(benchmark, tmp_path, plan)
    assert given == {
        "anp": {"flip": False, "epsilon": None},
        "nad": {"flip": False},
    }
    details = plan[1].folder(tmp_path) / "details.json"
    assert json.loads(details.read_text()) == {"chosen": 0.5}


def test_a_defense_gets_the_tracks_of_its_clean_images(tmp_path):
    """Image i is of the track i // 2, and told by its pixels."""
    things = np.repeat(np.arange(30), 2)
    pixels = np.broadcast_to(things[:, None, None, None] / 255, (60, 8, 8, 1))
    given = {}

    def defend(defense, classifier, clean, *, tracks, seed):
        pixels = [float(np.max(image)) for image, _ in clean]
        given["pixels"] = np.round(255 * np.array(pixels)).astype(int)
        given["tracks"] = tracks
        return tfbackdoor.DefenseResult({"after": classifier})

    benchmark = dataclasses.replace(
        _benchmark(defend, attacker_share=0.5),
        train=tfbackdoor.from_arrays(pixels.astype("float32"), things % 2),
        tracks=things,
    )
    plan = tfbackdoor.benchmark.plan_grid(
        ["none"], ["anp"], seeds=[0], shares=[0.2]
    )
    _run(benchmark, tmp_path, plan)
    assert len(given["tracks"]) == 12
    assert given["tracks"].tolist() == given["pixels"].tolist()


def _training(callback):
    """A `train_attacked` that fits, a clean classifier first if none is given.

    The callback watches the last fit.
    """

    def train(attack, build, train, *, seed, clean_classifier):
        if clean_classifier is None:
            _fit(planted.classifier(), train, keras.callbacks.Callback())
        return _fit(planted.classifier(), train, callback), None

    return train


def _kill(epoch, root, plan, **settings):
    train = _training(_KillIn(epoch, []))
    benchmark = _benchmark(tfbackdoor.defend, train, **settings)
    with pytest.raises(_Killed):
        _run(benchmark, root, plan, checkpoint_seconds=0.0)


def _go_on(root, plan, **settings):
    """The epochs that the last fit of the attack began."""
    begun = []
    train = _training(_KillIn(None, begun))
    _run(_benchmark(tfbackdoor.defend, train, **settings), root, plan)
    return begun


def test_a_fit_that_a_kill_ended_goes_on(tmp_path):
    _kill(2, tmp_path / "killed", [_BADNETS])
    assert _go_on(tmp_path / "killed", [_BADNETS]) == [2]
    assert _go_on(tmp_path / "whole", [_BADNETS]) == [0, 1, 2]
    np.testing.assert_allclose(
        *(
            tfbackdoor.load_classifier(
                _BADNETS.folder(tmp_path / name) / "classifier.keras"
            ).get_weights()[0]
            for name in ("killed", "whole")
        ),
        atol=1e-6,
    )
    folder = _BADNETS.folder(tmp_path / "killed").parent
    assert not list(folder.glob(".*checkpoints"))


def test_an_attack_begun_without_a_clean_classifier_begins_anew_with_it(
    tmp_path,
):
    _kill(1, tmp_path, [_BADNETS], clean_from=tmp_path)
    none = trials.Trial("none", 0)
    _run(_benchmark(tfbackdoor.defend), tmp_path, [none])
    begun = _go_on(tmp_path, [_BADNETS], clean_from=tmp_path)
    assert begun == [0, 1, 2]


def _defending(callback, error=None):
    def defend(defense, classifier, clean, *, tracks, seed):
        purified = _fit(classifier, clean, callback)
        if error:
            raise error
        return tfbackdoor.DefenseResult({"after": purified})

    return defend


def _defend(root, defend, **settings):
    plan = [_BADNETS, _ANP]
    return _unfinished(_benchmark(defend), root, plan, **settings)


def test_a_defense_takes_nothing_up_from_another_classifier(tmp_path):
    with pytest.raises(_Killed):
        _defend(tmp_path, _defending(_KillIn(1, [])), checkpoint_seconds=0.0)
    _BADNETS.folder(tmp_path).rename(tmp_path / "aside")
    begun = []
    assert not _defend(tmp_path, _defending(_KillIn(None, begun)))
    assert begun == [0, 1, 2]


@pytest.mark.parametrize(
    ("error", "begun_again"),
    [(ValueError("expected"), [0, 1, 2]), (OSError("disk full"), [])],
)
def test_what_failed_goes_on_where_the_machine_was_at_fault(
    tmp_path, error, begun_again
):
    callback = _KillIn(None, [])
    failed = _defend(
        tmp_path, _defending(callback, error), checkpoint_seconds=0.0
    )
    assert list(failed) == [_ANP]
    begun = []
    assert not _defend(tmp_path, _defending(_KillIn(None, begun)))
    assert begun == begun_again
