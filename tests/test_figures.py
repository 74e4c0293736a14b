import matplotlib.image
import numpy as np
import pytest

import tfbackdoor


def _scores(correct):
    rate = tfbackdoor.Rate(correct, 100)
    return tfbackdoor.Scores(rate, rate, rate, rate)


def _curve():
    return [
        tfbackdoor.CurvePoint(step / 4, step, _scores(90 - step))
        for step in range(-1, 4)
    ]


@pytest.mark.parametrize(
    ("plot", "arguments"),
    [
        (
            tfbackdoor.plot_samples,
            (np.zeros((3, 8, 8, 1)), np.ones((3, 8, 8, 1)), [0, 1, 2]),
        ),
        (tfbackdoor.plot_curve, (_curve(),)),
        (tfbackdoor.plot_masks, ({"bn": np.linspace(0, 1, 9)},)),
        (
            tfbackdoor.plot_attention,
            (np.zeros((8, 8, 3)), {"before": {"a": np.eye(4)}}),
        ),
    ],
)
def test_figures_are_pictures_that_show_something(tmp_path, plot, arguments):
    plot(*arguments, tmp_path / "figure.png")
    pixels = matplotlib.image.imread(tmp_path / "figure.png")
    assert min(pixels.shape[:2]) > 100
    assert np.ptp(pixels[..., :3]) > 0.5
