"""Flags of the launchers that know the attack."""

import pathlib

from absl import flags

flags.DEFINE_string(
    "poisoning",
    None,
    "Folder with poisoning.json of the attack, to score by; default the "
    "folder of --classifier, where it holds one.",
)
flags.DEFINE_string(
    "trigger",
    None,
    "To score by, in place of --poisoning: a built-in trigger or an .npz file "
    "with mask and pattern.",
)
flags.DEFINE_integer("target", 0, "The attacker's class, with --trigger.", 0)

FLAGS = flags.FLAGS


def load(classifier):
    """The attack to score by, or None where it is unknown."""
    import tfbackdoor

    if FLAGS.trigger:
        return tfbackdoor.Poisoning(
            tfbackdoor.make_trigger(
                FLAGS.trigger, tfbackdoor.network.image_shape(classifier)
            ),
            classes=tfbackdoor.network.class_count(classifier),
            target=FLAGS.target,
        )
    folder = pathlib.Path(
        FLAGS.poisoning or pathlib.Path(FLAGS.classifier).parent
    )
    if FLAGS.poisoning or (folder / "poisoning.json").is_file():
        return tfbackdoor.Poisoning.load(folder)
    print("The trigger is unknown: attack success cannot be scored.")
    return None
