"""How an error is told in one sentence, and whose fault it is."""


def is_expected(error: BaseException) -> bool:
    """Whether this package raised it, rather than the machine."""
    return isinstance(error, (ValueError, TypeError))


def sentence(error: BaseException) -> str:
    """The first line of an error's message, with its kind if unexpected."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return text if is_expected(error) else f"{type(error).__name__}: {text}"
