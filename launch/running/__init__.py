"""What every command does around its job: flags, folder, record, errors."""

from .job import run

__all__ = ["run"]
