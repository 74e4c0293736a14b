"""Flags of the commands that take the defender's clean images."""

from absl import flags

from . import images
from . import training_split

flags.DEFINE_integer(
    "clean_images",
    None,
    "Clean images to use; default 500, in nad and defend 2500, 5 % of "
    "CIFAR-10, or all where there are fewer and --attacker_share is 0.",
    1,
)
flags.DEFINE_integer(
    "data_seed",
    0,
    "Seed of the split of the training images: the --seed of train.",
)

FLAGS = flags.FLAGS
for _concern in (images, training_split):
    flags.adopt_module_key_flags(_concern)


def load(count: int = 500) -> dict:
    """The arguments `clean`, in memory, and `tracks` of a defense.

    Args:
        count: how many images without the flag.
    """
    import tfbackdoor

    training = images.load("train")
    if FLAGS.clean_images is not None:
        count = FLAGS.clean_images
    elif FLAGS.attacker_share == 0.0:
        count = min(count, int(training.cardinality()))
    _check_count(training, count)
    return tfbackdoor.data.draw_clean(
        training,
        FLAGS.attacker_share,
        count,
        seed=FLAGS.data_seed,
        tracks=training_split.tracks(),
    )


def _check_count(training, count):
    """Raises ValueError where there are not as many clean images."""
    total = int(training.cardinality())
    left = total - round(FLAGS.attacker_share * total)
    if count > left:
        raise ValueError(
            f"--clean_images must be at most {left}, what "
            f"--attacker_share={FLAGS.attacker_share:g} leaves of {total} "
            f"training images. Received: {count}"
        )
