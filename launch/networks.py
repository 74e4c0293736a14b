"""Flags of the launchers that build a network."""

from absl import flags

flags.DEFINE_enum(
    "network", "resnet18", ["resnet18", "wide_resnet"], "Architecture."
)
flags.DEFINE_float("width", 1.0, "Factor on the channels.", lower_bound=1 / 64)
flags.DEFINE_integer("depth", 16, "Depth of wide_resnet: 10, 16 or 40.")

FLAGS = flags.FLAGS


def build(image_shape, classes):
    """The network of the flags, with fresh weights."""
    import tfbackdoor

    if FLAGS.network == "resnet18":
        return tfbackdoor.resnet18(image_shape, classes, width=FLAGS.width)
    if FLAGS.width != int(FLAGS.width):
        raise ValueError(
            "--width of wide_resnet must be a whole number. "
            f"Received: {FLAGS.width:g}"
        )
    return tfbackdoor.wide_resnet(
        image_shape, classes, depth=FLAGS.depth, width=int(FLAGS.width)
    )
