"""Flags of the launchers that train networks with a backdoor."""

from absl import flags

flags.DEFINE_float(
    "attacker_share",
    0.9,
    "Share of the training images that the attacker trains on; the defender's "
    "images come from the rest (0.9 in ANP).",
    0.0,
    1.0,
)
flags.DEFINE_integer(
    "target", 0, "Class of the attacker (0 in ANP, 5 in NAD).", 0
)
flags.DEFINE_float(
    "poisoning_rate",
    None,
    "Share of eligible images; default the attack's own.",
    0.0,
    1.0,
)
flags.DEFINE_integer("epochs", 200, "Epochs of an attack (200 in ANP).", 1)
flags.DEFINE_integer("batch_size", 128, "Images a step (128 in ANP).", 1)
flags.DEFINE_float("learning_rate", 0.1, "First learning rate (0.1).", 0.0)
flags.DEFINE_float("weight_decay", 5e-4, "Weight decay (5e-4 in ANP).", 0.0)
flags.DEFINE_enum(
    "schedule",
    "steps",
    ["steps", "cosine"],
    "steps divides the learning rate by 10 at 1/2 and 3/4 of the epochs, as "
    "ANP does; cosine is better for few epochs.",
)
flags.DEFINE_bool("flip", True, "Whether training mirrors images at random.")

FLAGS = flags.FLAGS


def settings() -> dict:
    """What the flags say to `train_attacked`, but for seed and precision."""
    return {
        "target": FLAGS.target,
        "rate": FLAGS.poisoning_rate,
        "epochs": FLAGS.epochs,
        "batch_size": FLAGS.batch_size,
        "learning_rate": FLAGS.learning_rate,
        "weight_decay": FLAGS.weight_decay,
        "schedule": FLAGS.schedule,
        "flip": FLAGS.flip,
        "synchronised": FLAGS.synchronised,
    }
