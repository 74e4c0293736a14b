"""What a classifier makes of clean and of triggered images, to look at."""

import keras
import numpy as np

from tfbackdoor.network import classifiers
from tfbackdoor.network import graph
from tfbackdoor.network import neurons
from tfbackdoor.network import structure

EMBEDDINGS = ("pca", "tsne")
_PERPLEXITY = 30.0


def penultimate_features(
    classifier: keras.Model, images, *, batch_size: int = 256
) -> np.ndarray:
    """What the layer that gives the class scores computes them from.

    Args:
        classifier: built classifier of any kind.
        images: array `(images, height, width, channels)` in [0, 1].
        batch_size: int > 0.

    Returns:
        Float array `(images, features)`; feature maps are averaged over
        positions.

    Raises:
        ValueError: where no layer is found that gives the class scores.
    """
    classifiers.check_classifier(classifier)
    head = neurons.find_head(classifier)
    if not head:
        raise ValueError(
            "`classifier` must hold a layer that gives the class scores. "
            f"Received: {classifier.name} without any."
        )
    recorder = structure.InputRecorder({"head": head[0]})
    features = []
    for start in range(0, len(images), batch_size):
        with recorder.recording() as inputs:
            graph.call(classifier, images[start : start + batch_size])
        features.append(keras.ops.convert_to_numpy(inputs["head"]))
    features = np.concatenate(features).astype("float32")
    positions = tuple(range(1, features.ndim - 1))
    return features.mean(axis=positions)


def activation_gap(clean, triggered) -> np.ndarray:
    """How much more each feature answers with the trigger than without.

    Args:
        clean: features `(images, features)` of clean images.
        triggered: those of the same images with the trigger.

    Returns:
        `(features,)`, means over images of `triggered - clean`.
    """
    clean, triggered = np.asarray(clean), np.asarray(triggered)
    if clean.shape != triggered.shape or clean.ndim != 2 or not len(clean):
        raise ValueError(
            "`clean` and `triggered` must have the same shape (images, "
            f"features). Received: {clean.shape} and {triggered.shape}"
        )
    return (triggered - clean).mean(axis=0)


def embed(features, *, method: str = "pca", seed: int = 0) -> np.ndarray:
    """Points in the plane for features, near ones near each other.

    Args:
        features: array `(points, features)`.
        method: `"pca"` (the two directions of largest variance, the default),
            or `"tsne"` (van der Maaten & Hinton 2008, which keeps neighbours
            together; needs scikit-learn).
        seed: int, of t-SNE.

    Returns:
        Float array `(points, 2)`.

    Raises:
        ValueError: on an unknown method, fewer than three points, or where
            scikit-learn is missing for t-SNE.
    """
    features = np.asarray(features, "float64")
    if method not in EMBEDDINGS:
        raise ValueError(
            f"`method` must be one of {EMBEDDINGS}. Received: {method!r}"
        )
    if features.ndim != 2 or len(features) < 3:
        raise ValueError(
            "`features` must have the shape (points, features) with at least "
            f"3 points. Received: {features.shape}"
        )
    if method == "tsne":
        return _tsne(features, seed)
    centred = features - features.mean(axis=0)
    directions, lengths, _ = np.linalg.svd(centred, full_matrices=False)
    points = np.zeros((len(features), 2))
    count = min(2, len(lengths))
    points[:, :count] = directions[:, :count] * lengths[:count]
    return points


def _tsne(features, seed):
    try:
        from sklearn import manifold
    except ImportError as error:
        raise ValueError(
            "`method` 'tsne' needs scikit-learn: pip install "
            "'tfbackdoor[analysis]'. Received: an environment without it."
        ) from error
    return manifold.TSNE(
        perplexity=min(_PERPLEXITY, (len(features) - 1) / 3),
        init="pca",
        random_state=seed,
    ).fit_transform(features)
