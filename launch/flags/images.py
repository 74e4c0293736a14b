"""Flags of the commands that read a data set."""

from absl import flags

from ..running import run_record
from . import numbers

flags.DEFINE_string(
    "dataset",
    "digits",
    "Images: digits (embedded), an .npz file, a folder <split>/<class>/ or a "
    "tar archive of one, or a name of TensorFlow Datasets such as cifar10 or "
    "cifar100.",
)
flags.DEFINE_string("data_dir", None, "Where TensorFlow Datasets are.")
flags.DEFINE_bool("download", False, "Whether TFDS may download the data.")
flags.DEFINE_list(
    "image_size", None, "HEIGHT,WIDTH in pixels to resize images to."
)

FLAGS = flags.FLAGS


def load(split: str):
    """The data set of the flags as `tf.data`, images in [0, 1]."""
    import tfbackdoor

    images = tfbackdoor.load_images(
        FLAGS.dataset,
        split,
        data_dir=FLAGS.data_dir,
        download=FLAGS.download,
        image_size=image_size(),
    )
    run_record.add_images(split, images)
    return images


def check_alike(test, training) -> None:
    """Raises where test images are no such images as those of training."""
    import tfbackdoor

    tfbackdoor.data.checked_images(
        test,
        tuple(training.element_spec[0].shape),
        tfbackdoor.data.count_classes(training),
        name="test",
    )


def image_size() -> tuple[int, int] | None:
    """Height and width to resize to, None for the images' own."""
    if not FLAGS.image_size:
        return None
    height, width = numbers.whole(
        "image_size", "HEIGHT,WIDTH", FLAGS.image_size
    )
    return height, width
