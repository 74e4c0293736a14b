"""Flags that are several numbers."""


def whole(name: str, form: str, value: list[str]) -> tuple[int, ...]:
    """The sizes in a flag, whole numbers above 0.

    Args:
        name: the flag's.
        form: such as `"HEIGHT,WIDTH"`.
        value: what was given.

    Raises:
        ValueError: where they are not as many, or no such numbers.
    """
    sizes = tuple(int(size) if size.isdecimal() else 0 for size in value)
    if len(sizes) != len(form.split(",")) or min(sizes) < 1:
        raise ValueError(
            f"--{name} must be {form}, whole numbers above 0. "
            f"Received: {','.join(value)}"
        )
    return sizes


def several(name: str, value: list[str], kind: type = float) -> list:
    """The numbers in a flag.

    Args:
        name: the flag's.
        value: what was given.
        kind: float or int.

    Raises:
        ValueError: where one is none.
    """
    try:
        return [kind(number) for number in value]
    except ValueError as error:
        whole = "whole " if kind is int else ""
        raise ValueError(
            f"--{name} must be {whole}numbers with commas between. "
            f"Received: {','.join(value)}"
        ) from error
