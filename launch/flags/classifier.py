"""Flags of the commands that take a classifier."""

from absl import flags

flags.DEFINE_string("classifier", None, "Suspicious .keras or .h5 file.")
flags.DEFINE_bool(
    "allow_unsafe_code",
    False,
    "DANGER: runs whatever code is stored in a model file (Lambda layers). "
    "Only for files of your own.",
)

FLAGS = flags.FLAGS


def load(path: str | None = None):
    """The classifier of `path` or the flags, on the strategy in scope."""
    import tfbackdoor

    return tfbackdoor.load_classifier(
        path or FLAGS.classifier, allow_unsafe_code=FLAGS.allow_unsafe_code
    )
