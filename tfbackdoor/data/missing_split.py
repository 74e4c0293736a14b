"""The error of every source of images that lacks a split."""


class MissingSplitError(ValueError):
    """A source of images has no such split."""
