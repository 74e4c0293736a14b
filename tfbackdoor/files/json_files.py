"""JSON that may come from anywhere."""

import json
import math
import pathlib

LARGEST = 32 * 2**20  # Bytes.
_DEEPEST = 200


def read_json(path: str | pathlib.Path, *, limit: int = LARGEST) -> dict:
    """The object of a JSON file.

    Args:
        path: the file.
        limit: int, bytes that it may have.

    Raises:
        ValueError: where the file is missing, too large, no JSON, no object,
            nested too deeply or holds NaN or infinity.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(
            f"`path` must be a JSON file. Received: {path}, which does not "
            "exist."
        )
    try:
        if path.stat().st_size > limit:
            raise ValueError(f"it has more than {limit} bytes")
        return parse(path.read_bytes(), limit=limit, finite=True)
    except ValueError as error:
        raise ValueError(
            f"`path` must be a JSON file. Received: {path}, which cannot be "
            f"read: {error}"
        ) from error


def parse(
    content: bytes | str, *, limit: int = LARGEST, finite: bool = False
) -> dict:
    """The object of JSON in memory; raises ValueError as `read_json`.

    NaN and infinity are refused where `finite`.
    """
    if len(content) > limit:
        raise ValueError(f"it has more than {limit} bytes")
    checks = {"parse_constant": _refuse, "parse_float": _finite}
    try:
        parsed = json.loads(content, **(checks if finite else {}))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except UnicodeDecodeError as error:
        raise ValueError("it is no text") from error
    if not isinstance(parsed, dict):
        raise ValueError(f"it holds a {type(parsed).__name__}, no object")
    _check_depth(parsed)
    return parsed


def take(settings: dict, name: str, kind: type):
    """The value of `name`, which must be of `kind`.

    An int is taken for a float; a bool is no int.

    Raises:
        ValueError: where it is missing or of another kind.
    """
    value = settings.get(name)
    kinds = (int, float) if kind is float else kind
    if not isinstance(value, kinds) or isinstance(value, bool) != (
        kind is bool
    ):
        raise ValueError(
            f"`{name}` must be of kind {kind.__name__}. "
            f"Received: {name}={str(value)[:50]!r}"
        )
    return kind(value)


def _finite(text):
    number = float(text)
    if not math.isfinite(number):
        _refuse(text)
    return number


def _refuse(text):
    raise ValueError(f"it holds the number {text[:50]}")


def _check_depth(parsed):
    level = [parsed]
    for _ in range(_DEEPEST):
        level = [child for value in level for child in _children(value)]
        if not level:
            return
    raise ValueError("it is nested too deeply")


def _children(value):
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return []
    return [x for x in value if isinstance(x, (dict, list))]
