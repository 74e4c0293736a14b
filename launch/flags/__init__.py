"""Flags that commands share, each defined once, one file per concern.

A command adopts those that it takes. A flag that feeds an argument has its name
and the default None: what was not given is not passed on, so that the
function's own default holds. Its help tells that default.
"""

from absl import flags


def given(*concerns) -> dict:
    """From name to value of the flags of these modules that have a value."""
    return {
        flag.name: flag.value
        for concern in concerns
        for flag in flags.FLAGS.get_flags_for_module(concern)
        if flag.value is not None
    }
