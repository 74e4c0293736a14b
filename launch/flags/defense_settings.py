"""The flag of what a defense has in place of its paper's settings."""

import json

from absl import flags

flags.DEFINE_multi_string(
    "setting",
    [],
    "[DEFENSE.]NAME=VALUE, a setting of a defense in place of its paper's, "
    "such as nad.epochs=5 or anp.epsilon=null; may be given several times. In "
    "defend the name alone will do.",
)


def parse(text: str) -> tuple[str, object]:
    """The name and the value of `NAME=VALUE`: JSON, else text."""
    name, separator, value = text.partition("=")
    if not separator:
        raise ValueError(f"--setting must be NAME=VALUE. Received: {text}")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def by_defense(texts: list[str], default: str | None = None) -> dict[str, dict]:
    """From defense to its settings, of `[DEFENSE.]NAME=VALUE` each.

    Args:
        texts: the values of `--setting`.
        default: the defense of those that name none; None refuses them.
    """
    found: dict[str, dict] = {}
    for text in texts:
        path, value = parse(text)
        named, _, name = path.rpartition(".")
        defense = named or default
        if defense is None:
            raise ValueError(
                f"--setting must be DEFENSE.NAME=VALUE. Received: {text}"
            )
        found.setdefault(defense, {})[name] = value
    return found
