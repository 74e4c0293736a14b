"""Settings of defenses, as the command line takes them."""

import json


def parse(text: str) -> tuple[str, object]:
    """The name and the value of `NAME=VALUE`: JSON, else text."""
    name, separator, value = text.partition("=")
    if not separator:
        raise ValueError(f"--setting must be NAME=VALUE. Received: {text}")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def by_defense(texts: list[str]) -> dict[str, dict]:
    """From defense to its settings, of `DEFENSE.NAME=VALUE` each."""
    found = {}
    for text in texts:
        path, value = parse(text)
        defense, dot, name = path.partition(".")
        if not dot:
            raise ValueError(
                f"--setting must be DEFENSE.NAME=VALUE. Received: {text}"
            )
        found.setdefault(defense, {})[name] = value
    return found
