"""Flags of the commands that know the attack, to score by."""

import pathlib

from absl import flags

from . import trigger

flags.DEFINE_string(
    "poisoning",
    None,
    "Folder with poisoning.json of the attack, to score by; default the "
    "folder of --classifier, where it holds one.",
)

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(trigger)


def load(classifier):
    """The attack to score by, or None where it is unknown."""
    import tfbackdoor

    if FLAGS.trigger:
        # Of images with channels, and two classes for one sigmoid unit.
        taken = tfbackdoor.network.conform(classifier, trains=False)
        return tfbackdoor.Poisoning(
            tfbackdoor.make_trigger(
                FLAGS.trigger, tfbackdoor.network.image_shape(taken)
            ),
            classes=tfbackdoor.network.class_count(taken),
            target=FLAGS.target,
        )
    folder = pathlib.Path(
        FLAGS.poisoning or pathlib.Path(FLAGS.classifier).parent
    )
    if FLAGS.poisoning or (folder / "poisoning.json").is_file():
        return tfbackdoor.Poisoning.load(folder)
    print("The trigger is unknown: attack success cannot be scored.")
    return None
