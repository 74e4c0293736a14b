"""Flags of the commands that export what they purified."""

from absl import flags

flags.DEFINE_list(
    "export",
    None,
    "Formats beside classifier.keras, which is always written: saved_model, "
    "litert, onnx; default saved_model.",
)

FLAGS = flags.FLAGS


def write(classifier, folder, images) -> None:
    """Exports to a folder, read back and compared on a batch of images."""
    import tfbackdoor

    formats = {} if FLAGS.export is None else {"formats": FLAGS.export}
    tfbackdoor.export_classifier(classifier, folder, images, **formats)
