"""What a piece of a benchmark hands to attacks."""

import json
import random

import numpy as np
import planted

import tfbackdoor
from tfbackdoor.benchmarking import pieces

_draws = {}


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


def _run(benchmark, root, plan):
    unfinished = tfbackdoor.run_grid(
        root,
        plan,
        benchmark.attack,
        benchmark.defend,
        settings={},
        say=lambda line: None,
    )
    assert not unfinished


def _benchmark(defend, **settings):
    images = planted.images(60)
    return tfbackdoor.Benchmark(
        train=images,
        test=images,
        build=planted.classifier,
        train_attacked=_train,
        defend_classifier=defend,
        **settings,
    )


def _first_weight(root, piece):
    path = piece.folder(root) / "classifier.keras"
    return tfbackdoor.load_classifier(path).get_weights()[0].flat[0]


def test_attacks_get_the_clean_classifier_of_their_seed(tmp_path):
    benchmark = _benchmark(tfbackdoor.defend, clean_from=tmp_path)
    plan = [
        pieces.Piece("none", 0),
        pieces.Piece("trojan", 0),
        pieces.Piece("trojan", 1),
    ]
    _run(benchmark, tmp_path, plan)
    np.testing.assert_allclose(
        [_first_weight(tmp_path, piece) for piece in plan], [1.0, 2.0, 1.0]
    )
    # Loading it draws nothing from what the attack draws from.
    assert _draws["none", 0] == _draws["trojan", 0] != _draws["trojan", 1]


def test_a_defence_gets_its_own_settings_beside_the_common_ones(tmp_path):
    given = {}

    def defend(defence, classifier, clean, *, seed, **settings):
        given[defence] = settings
        return tfbackdoor.Defended({"after": classifier}, {"chosen": 0.5})

    benchmark = _benchmark(
        defend,
        defence_settings={"flip": False},
        settings_of={"anp": {"epsilon": None}},
    )
    plan = tfbackdoor.plan_grid(
        ["none"], ["anp", "nad"], seeds=[0], shares=[0.1]
    )
    _run(benchmark, tmp_path, plan)
    assert given == {
        "anp": {"flip": False, "epsilon": None},
        "nad": {"flip": False},
    }
    details = plan[1].folder(tmp_path) / "details.json"
    assert json.loads(details.read_text()) == {"chosen": 0.5}
