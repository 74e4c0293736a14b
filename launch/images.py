"""Flags of the launchers that read a data set."""

from absl import flags

from launch import record

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
flags.DEFINE_bool(
    "by_track",
    False,
    "Splits training images by track, of files <track>_<index>.jpg as in "
    "GTSRB: the attacker's and the defender's images then share none.",
)

FLAGS = flags.FLAGS


def load(split: str):
    """The data set of the flags as `tf.data`, images in [0, 1]."""
    from tfbackdoor.data import sources

    size = FLAGS.image_size and tuple(int(n) for n in FLAGS.image_size)
    images = sources.load_images(
        FLAGS.dataset,
        split,
        data_dir=FLAGS.data_dir,
        download=FLAGS.download,
        image_size=size or None,
    )
    record.add_data(split, images)
    return images


def split_training(training, sizes, *, seed: int):
    """Disjoint parts of `load("train")`, by track where asked for."""
    import tfbackdoor

    return tfbackdoor.split_images(
        training,
        sizes,
        seed=seed,
        tracks=tfbackdoor.data.image_tracks(FLAGS.dataset, "train")
        if FLAGS.by_track
        else None,
    )
