"""Flags of the commands that train networks with a backdoor."""

import inspect

from absl import flags

from . import augmentation
from . import training

flags.DEFINE_float(
    "poisoning_rate",
    None,
    "Share of the eligible images that is poisoned; default the attack's own.",
    0.0,
    1.0,
)
flags.DEFINE_enum(
    "schedule",
    None,
    ["steps", "cosine"],
    "steps, the default, divides the learning rate by 10 at 1/2 and 3/4 of the "
    "epochs, as ANP does; cosine is better for few epochs.",
)

FLAGS = flags.FLAGS
for _concern in (training, augmentation):
    flags.adopt_module_key_flags(_concern)


def settings() -> dict:
    """What `train_attacked` takes, but for its seed and precision.

    Flags that were not given have the function's own default.
    """
    import tfbackdoor

    own = inspect.signature(tfbackdoor.train_attacked).parameters
    return {
        "target": FLAGS.target,
        "rate": FLAGS.poisoning_rate,
        **{
            flag.name: own[flag.name].default
            if flag.value is None
            else flag.value
            for flag in FLAGS.get_key_flags_for_module(__name__)
            if flag.name in own
        },
    }
