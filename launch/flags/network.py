"""Flags of the commands that build a network."""

from absl import flags

flags.DEFINE_string(
    "network",
    "resnet18",
    "Architecture: resnet18, resnet34, resnet50, resnet101, resnet152, "
    "preact_resnet18, wide_resnet (with --depth), wrn10, wrn16, wrn40, vgg19 "
    "(with batch normalisation) or mobilenet_v2.",
)
flags.DEFINE_float("width", 1.0, "Factor on the channels.", lower_bound=1 / 64)
flags.DEFINE_integer("depth", 16, "Depth of wide_resnet: 10, 16 or 40.")

FLAGS = flags.FLAGS
_WIDE = ("wide_resnet", "wrn10", "wrn16", "wrn40")


def build(image_shape, classes):
    """The network of the flags, with fresh weights."""
    import tfbackdoor

    settings = {"width": FLAGS.width}
    if FLAGS.network in _WIDE:
        if FLAGS.width != int(FLAGS.width):
            raise ValueError(
                f"--width of {FLAGS.network} must be a whole number. "
                f"Received: {FLAGS.width:g}"
            )
        settings["width"] = int(FLAGS.width)
    if FLAGS.network == "wide_resnet":
        settings["depth"] = FLAGS.depth
    return tfbackdoor.build_network(
        FLAGS.network, image_shape, classes, **settings
    )
