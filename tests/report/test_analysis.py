"""Features, gaps and embeddings, on classifiers known to the last weight."""

import sys

import keras
import numpy as np
import planted
import pytest
import specimens

import tfbackdoor


def _head_of(model):
    """The head in each specimen, whatever follows or surrounds it."""
    return next(
        layer
        for layer in model._flatten_layers(include_self=False)
        if layer.name == "head"
    )


@pytest.mark.parametrize("name", specimens.NAMES)
def test_features_times_the_head_are_the_scores(name):
    model = specimens.build(name)
    images, _ = specimens.batch(5)
    features = tfbackdoor.report.penultimate_features(
        model, images, batch_size=2
    )
    kernel, bias = _head_of(model).get_weights()
    scores = features @ kernel + bias
    if name in specimens.GIVE_PROBABILITIES:
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        scores /= scores.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(
        scores, model(images, training=False), rtol=1e-3, atol=1e-3
    )


def test_feature_maps_are_averaged_over_positions():
    inputs = keras.Input((4, 4, 3))
    x = keras.layers.Conv2D(2, 1, name="head")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, x)
    images = np.random.default_rng(0).random((5, 4, 4, 3), "float32")
    np.testing.assert_allclose(
        tfbackdoor.report.penultimate_features(model, images),
        images.mean(axis=(1, 2)),
        rtol=1e-5,
    )


def test_the_gap_finds_the_neuron_that_holds_the_backdoor():
    model = planted.classifier()
    images, _ = next(iter(planted.images(30).batch(30)))
    clean = tfbackdoor.report.penultimate_features(model, images)
    triggered = tfbackdoor.report.penultimate_features(
        model, planted.attack().trigger(images)
    )
    gap = tfbackdoor.report.activation_gap(clean, triggered)
    assert gap.shape == (planted.CLASSES + 1,)
    assert gap.argmax() == planted.CLASSES
    # softplus(10 * 1 - 8) less what up to 10 * 0.4 - 8 gives.
    assert np.log1p(np.exp(2.0)) - np.log1p(np.exp(-4.0)) < gap.max() < 2.13
    assert np.abs(gap[:-1]).max() < 1e-5


def test_gaps_of_other_images_are_refused():
    with pytest.raises(ValueError, match=r"Received: \(3, 2\) and \(2, 2\)"):
        tfbackdoor.report.activation_gap(np.zeros((3, 2)), np.zeros((2, 2)))


def test_principal_components_keep_distances_in_a_plane():
    rng = np.random.default_rng(0)
    plane, basis = rng.normal(size=(40, 2)), rng.normal(size=(9, 2))
    basis, _ = np.linalg.qr(basis)
    points = tfbackdoor.report.embed(plane @ basis.T + 3.0)
    distances = [
        np.linalg.norm(x[:, None] - x[None], axis=-1) for x in (plane, points)
    ]
    np.testing.assert_allclose(*distances, atol=1e-10)
    assert points[:, 0].var() >= points[:, 1].var()


def test_one_feature_lies_on_a_line():
    points = tfbackdoor.report.embed(np.float32([[1], [2], [4]]))
    assert not points[:, 1].any()
    assert np.ptp(points[:, 0]) == pytest.approx(3.0)


def test_neighbours_stay_neighbours_in_t_sne():
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1], 20)
    features = rng.normal(size=(40, 5)) + 50.0 * groups[:, None]
    points = tfbackdoor.report.embed(features, method="tsne")
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    nearest = np.argsort(distances, axis=1)[:, 1]
    assert (groups[nearest] == groups).all()


def test_t_sne_without_scikit_learn_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ValueError, match=r"pip install 'tfbackdoor\[analysis"):
        tfbackdoor.report.embed(np.eye(4), method="tsne")


@pytest.mark.parametrize(
    ("features", "method", "message"),
    [
        (np.eye(4), "umap", "`method` must be one of"),
        (np.eye(2), "pca", "at least 3 points"),
    ],
)
def test_embeddings_of_nonsense_are_refused(features, method, message):
    with pytest.raises(ValueError, match=message):
        tfbackdoor.report.embed(features, method=method)
