"""Flags that part the training images between attacker and defender."""

from absl import flags

flags.DEFINE_float(
    "attacker_share",
    0.9,
    "Share of the training images that the attacker trains on; the defender's "
    "clean images are drawn from the rest (0.9 in ANP). 0 where the model was "
    "trained elsewhere.",
    0.0,
    1.0,
)
flags.DEFINE_bool(
    "by_track",
    False,
    "Splits training images by track, of files <track>_<index>.jpg as in "
    "GTSRB: the attacker's and the defender's images then share none, nor do "
    "clean images that train and those that judge.",
)

FLAGS = flags.FLAGS


def tracks():
    """The track of each image of `train`, None unless they are asked for."""
    import tfbackdoor

    if not FLAGS.by_track:
        return None
    return tfbackdoor.data.image_tracks(FLAGS.dataset, "train")
