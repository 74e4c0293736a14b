"""What a piece of a benchmark hands to attacks."""

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


def _first_weight(root, piece):
    path = piece.folder(root) / "classifier.keras"
    return tfbackdoor.load_classifier(path).get_weights()[0].flat[0]


def test_attacks_get_the_clean_classifier_of_their_seed(tmp_path):
    images = planted.images(60)
    benchmark = tfbackdoor.Benchmark(
        train=images,
        test=images,
        build=planted.classifier,
        train_attacked=_train,
        defend_classifier=tfbackdoor.defend,
        clean_from=tmp_path,
    )
    plan = [
        pieces.Piece("none", 0),
        pieces.Piece("trojan", 0),
        pieces.Piece("trojan", 1),
    ]
    unfinished = tfbackdoor.run_grid(
        tmp_path,
        plan,
        benchmark.attack,
        benchmark.defend,
        settings={},
        say=lambda line: None,
    )
    assert not unfinished
    np.testing.assert_allclose(
        [_first_weight(tmp_path, piece) for piece in plan], [1.0, 2.0, 1.0]
    )
    # Loading it draws nothing from what the attack draws from.
    assert _draws["none", 0] == _draws["trojan", 0] != _draws["trojan", 1]
