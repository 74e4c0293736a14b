"""Flags of the commands that export what they purified."""

from absl import flags

flags.DEFINE_list(
    "export",
    None,
    "Formats beside classifier.keras, which is always written: saved_model, "
    "litert, onnx; default saved_model.",
)

FLAGS = flags.FLAGS


def check() -> None:
    """Raises ValueError, before any work, where --export cannot be written."""
    import tfbackdoor

    tfbackdoor.network.check_formats(FLAGS.export or ())


def write(classifier, folder, images, *, loaded) -> None:
    """Exports to a folder, read back and compared on a batch of images.

    A format that fails is a warning: `classifier.keras` is written all the
    same, and the run is not lost. It has the outputs and the input size of the
    file that was loaded; the other formats have one output and size.
    """
    import tfbackdoor
    from tfbackdoor import errors

    formats = {} if FLAGS.export is None else {"formats": FLAGS.export}
    try:
        tfbackdoor.export_classifier(classifier, folder, images, **formats)
    except Exception as error:  # The file itself is written by then.
        print(f"Warning: {errors.sentence(error)}")
    whole = tfbackdoor.network.as_in_file(classifier, loaded)
    if whole is not classifier:
        whole.save(folder / "classifier.keras")
