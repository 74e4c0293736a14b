"""Flags of the launchers that read a data set."""

from absl import flags

from launch import record

flags.DEFINE_string(
    "dataset",
    "digits",
    "Images: digits (embedded), an .npz file, a folder <split>/<class>/, or a "
    "name of TensorFlow Datasets such as cifar10.",
)
flags.DEFINE_string("data_dir", None, "Where TensorFlow Datasets are.")
flags.DEFINE_bool("download", False, "Whether TFDS may download the data.")
flags.DEFINE_list(
    "image_size", None, "HEIGHT,WIDTH in pixels to resize images to."
)

FLAGS = flags.FLAGS


def load(split: str):
    """The data set of the flags as `tf.data`, images in [0, 1]."""
    from tfbackdoor import data

    size = FLAGS.image_size and tuple(int(n) for n in FLAGS.image_size)
    images = data.load_images(
        FLAGS.dataset,
        split,
        data_dir=FLAGS.data_dir,
        download=FLAGS.download,
        image_size=size or None,
    )
    record.Record.current.add_data(split, images)
    return images
