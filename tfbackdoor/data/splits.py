"""What is said where a source of images has no such split."""


class MissingSplitError(ValueError):
    """A source of images has no such split."""
