import matplotlib.image
import numpy as np
import pytest

import tfbackdoor


def _scores(correct):
    rate = tfbackdoor.Rate(correct, 100)
    return tfbackdoor.Scores(rate, rate, rate, rate)


def _curve():
    return [
        tfbackdoor.defenses.CurvePoint(step / 4, step, _scores(90 - step))
        for step in range(-1, 4)
    ]


def _cells():
    rate = {"mean": 0.5, "std": None}
    return [
        {
            "attack": "badnets",
            "defense": share and "nad",
            "clean_share": share,
            "accuracy": rate,
            "attack_success": rate,
        }
        for share in (None, 0.01, 0.05)
    ]


def test_shares_without_a_defense_are_refused(tmp_path):
    with pytest.raises(ValueError, match="`cells` must hold attack success"):
        tfbackdoor.benchmark.plot_shares(_cells()[:1], tmp_path / "figure.png")


@pytest.mark.parametrize(
    ("plot", "arguments"),
    [
        (
            tfbackdoor.report.plot_samples,
            (np.zeros((3, 8, 8, 1)), np.ones((3, 8, 8, 1)), [0, 1, 2]),
        ),
        (tfbackdoor.report.plot_curve, (_curve(),)),
        (tfbackdoor.report.plot_masks, ({"bn": np.linspace(0, 1, 9)},)),
        (
            tfbackdoor.report.plot_attention,
            (np.zeros((8, 8, 3)), {"before": {"a": np.eye(4)}}),
        ),
        (
            tfbackdoor.report.plot_attention_rows,
            ({"before,\nclean": (np.zeros((8, 8, 1)), {"a": np.eye(4)})},),
        ),
        (
            tfbackdoor.report.plot_embedding,
            ({"before": np.random.default_rng(0).random((9, 2))}, range(6)),
        ),
        (
            tfbackdoor.report.plot_gap,
            ({"before": np.arange(5.0), "after": np.arange(3.0)},),
        ),
        (tfbackdoor.benchmark.plot_shares, (_cells(),)),
    ],
)
def test_figures_are_pictures_that_show_something(tmp_path, plot, arguments):
    plot(*arguments, tmp_path / "figure.png")
    pixels = matplotlib.image.imread(tmp_path / "figure.png")
    assert min(pixels.shape[:2]) > 100
    assert np.ptp(pixels[..., :3]) > 0.5
