"""Trains a classifier with a backdoor, to have something to purify.

    python -m launch.train --attack=badnets --dataset=cifar10 --data_dir=DIR

trains ANP's BadNets ResNet-18: a checkerboard at the bottom right of 5 % of
the images outside class 0, on 90 % of the training images. `--output` then
holds `classifier.keras`, what was poisoned (`poisoning.json`,
`poisoned_indices.npz` and the trigger: `trigger.npz`, `reflections.npz` or the
generator `trigger.keras`), `flags.json` and `scores.json`. `--attack=none`
trains a clean classifier alike.
"""

import dataclasses
import functools

from absl import flags

from . import running
from .flags import images
from .flags import network
from .flags import poisoning as poisoning_flags
from .flags import run
from .flags import training_split
from .flags import trigger

flags.DEFINE_string(
    "attack",
    "badnets",
    "none, badnets, blend, clean_label, sig, trojan, refool, input_aware, "
    "input_aware_all, wanet, bpp, lf or adaptive_blend; badnets_, blend_ or "
    "sig_all_to_all; badnets_, blend_ or refool_clean_label.",
)
flags.DEFINE_enum(
    "mode",
    None,
    ["all_to_one", "all_to_all", "clean_label"],
    "How poisoned images are labelled; default the attack's own.",
)
flags.DEFINE_string(
    "reflections",
    None,
    "What --attack=refool reflects: a folder train/<class>/<image file> or "
    "anything that --dataset takes; default held-out training images.",
)

FLAGS = flags.FLAGS
for _concern in (images, training_split, network, poisoning_flags, trigger):
    flags.adopt_module_key_flags(_concern)


def job(folder):
    import tfbackdoor

    tfbackdoor.set_seed(FLAGS.seed)
    attack = _attack()
    test = images.load("test")
    training = images.load("train")
    images.check_alike(test, training)
    attacker, _ = tfbackdoor.split_images(
        training,
        [FLAGS.attacker_share, 0],
        seed=FLAGS.seed,
        tracks=training_split.tracks(),
    )
    with tfbackdoor.make_strategy(FLAGS.strategy).scope():
        classifier, poisoning = tfbackdoor.train_attacked(
            attack,
            network.build,
            attacker,
            seed=FLAGS.seed,
            precision=run.precision(),
            **_settings(),
            reflections=_reflections(attacker.element_spec[0].shape[:2]),
        )
    classifier.save(folder / "classifier.keras")
    if poisoning is not None:
        poisoning.save(folder)
    scores = tfbackdoor.evaluate(
        classifier, test, poisoning, preprocess="[0, 1]"
    )
    _print(scores)
    tfbackdoor.files.write_json(folder / "scores.json", scores.to_json())


def _settings():
    settings = poisoning_flags.settings()
    return settings | {"epochs": 1} if FLAGS.smoke else settings


def _attack():
    """The attack of the flags: its name, or a recipe with what they change."""
    import tfbackdoor

    attack = tfbackdoor.ATTACKS.get(FLAGS.attack)
    if attack is None or not (FLAGS.trigger or FLAGS.mode):
        return FLAGS.attack
    changes = {"mode": FLAGS.mode or attack.mode}
    if FLAGS.trigger:
        if attack.trigger is None:
            raise ValueError(
                f"--trigger must be left out with --attack={FLAGS.attack}, "
                f"which takes no fixed one. Received: {FLAGS.trigger}"
            )
        changes["trigger"] = functools.partial(
            tfbackdoor.make_trigger, FLAGS.trigger
        )
    return dataclasses.replace(attack, **changes)


def _reflections(image_size):
    import tfbackdoor

    if FLAGS.reflections is None:
        return None
    return tfbackdoor.load_images(
        FLAGS.reflections,
        data_dir=FLAGS.data_dir,
        download=FLAGS.download,
        image_size=tuple(image_size),
    )


def _print(scores):
    for name, rate in scores.rates.items():
        if rate is not None:
            print(f"{name.replace('_', ' ').capitalize()} {rate}")


def main():
    running.run(job, "train")


if __name__ == "__main__":
    main()
