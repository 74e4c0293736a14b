"""Flags of the commands that take a classifier."""

from absl import flags

from . import images

flags.DEFINE_string("classifier", None, "Suspicious .keras or .h5 file.")
flags.DEFINE_bool(
    "allow_unsafe_code",
    False,
    "DANGER: runs whatever code is stored in a model file (Lambda layers). "
    "Only for files of your own.",
)
flags.DEFINE_string(
    "classifier_output",
    None,
    "Name of the output that gives the class scores, where it has several.",
)
flags.DEFINE_string(
    "preprocess",
    None,
    "What is done to images in [0, 1] before the classifier: a name such as "
    "'[0, 255]', which an unknown one lists; default what its accuracy on the "
    "images says.",
)

FLAGS = flags.FLAGS


def load(path: str | None = None):
    """The classifier of `path` or the flags, on the strategy in scope."""
    import tfbackdoor

    return tfbackdoor.load_classifier(
        path or FLAGS.classifier,
        image_size=images.image_size(),
        output=FLAGS.classifier_output,
        allow_unsafe_code=FLAGS.allow_unsafe_code,
    )


def adapted(classifier, test, preprocess: str | None = None):
    """A classifier of images in [0, 1] that shares all its weights.

    Args:
        classifier: as its owner gave it.
        test: unbatched test images.
        preprocess: what is known of it; default the flag.
    """
    import tfbackdoor

    values = tfbackdoor.find_value_range(
        classifier, test, preprocess=preprocess or FLAGS.preprocess
    )
    size = tuple(test.element_spec[0].shape[:2])
    return values.adapt(classifier, image_size=size)
