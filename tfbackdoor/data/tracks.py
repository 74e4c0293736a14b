"""Parts of labelled images that share no track: frames of one thing.

Tracks are strings or numbers, one an image, as `image_tracks` gives them.
"""

import numbers
from collections.abc import Sequence

import numpy as np


def check(tracks: np.ndarray | None, count: int) -> np.ndarray | None:
    """`tracks` as an array; ValueError unless they name one an image.

    Args:
        tracks: should be `(count,)`, or None, which is given back.
        count: how many images there are.
    """
    if tracks is None:
        return None
    names = list(tracks) if np.iterable(tracks) else []
    if not all(isinstance(x, (str, numbers.Integral)) for x in names):
        names = []
    tracks = np.array([str(name) for name in names])
    if tracks.shape != (count,):
        raise ValueError(
            f"`tracks` must name one track for each of {count} images, a text "
            f"or a whole number. Received: {len(names)}"
        )
    return tracks


def draw_parts(
    labels: np.ndarray,
    tracks: np.ndarray,
    counts: Sequence[int],
    rng: np.random.Generator,
) -> list[np.ndarray]:
    """Positions of exactly `counts` images each; no track is in two parts.

    Each part but the last takes whole tracks of each class alike until it is
    full, the last draws its images from all tracks that are left.

    Raises:
        ValueError: where whole tracks do not leave as many.
    """
    members = _members(labels, tracks, rng)
    parts = []
    for position, count in enumerate(counts):
        taken = []
        is_last = position == len(counts) - 1
        while members and (is_last or len(taken) < count):
            taken.extend(members.pop(0))
        if len(taken) < count:
            raise ValueError(
                "`sizes` must leave whole tracks for each part. Received: "
                f"{counts}, where {len(taken)} images are left for part "
                f"{position + 1}"
            )
        parts.append(rng.permutation(taken)[:count].astype("int64"))
    return parts


def whole_parts(
    labels: np.ndarray,
    tracks: np.ndarray,
    counts: Sequence[int],
    rng: np.random.Generator,
) -> list[np.ndarray]:
    """Positions of all images in parts of about `counts`, of whole tracks.

    Any part has tracks of each class alike, as far as there are enough.

    Raises:
        ValueError: where a part would be empty.
    """
    members = _members(labels, tracks, rng)
    sizes = np.array([len(positions) for positions in members])
    middles = np.cumsum(sizes) - sizes / 2
    part_of = np.searchsorted(np.cumsum(counts)[:-1], middles, side="right")
    if len(np.unique(part_of)) < len(counts):
        raise ValueError(
            f"`tracks` must be enough for {len(counts)} parts of about "
            f"{list(counts)} images, none of them in two. "
            f"Received: {len(members)} tracks"
        )
    return [
        np.concatenate([members[i] for i in np.flatnonzero(part_of == part)])
        for part in range(len(counts))
    ]


def _members(labels, tracks, rng):
    """The positions of each track; any beginning has all classes alike."""
    _, track_of = np.unique(tracks, return_inverse=True)
    order = np.argsort(track_of, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(track_of))[:-1])
    label_of = np.array([labels[positions[0]] for positions in members])
    place = np.zeros(len(members))
    for label in np.unique(label_of):
        of_class = rng.permutation(np.flatnonzero(label_of == label))
        place[of_class] = (np.arange(len(of_class)) + 0.5) / len(of_class)
    ranked = np.lexsort((rng.random(len(members)), place))
    return [members[index] for index in ranked]
