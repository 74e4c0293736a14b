"""Zip archives: what their members declare, checked before any is read."""

import contextlib
import pathlib
import zipfile
from collections.abc import Iterator

LARGEST = 16 * 2**30  # Bytes; as the largest model or data set in memory.
_MOST_MEMBERS = 10_000
# A member may unpack to this many times the file, whatever its size to the
# floor: arrays of zeros, such as masks, shrink a thousandfold.
_EXPANSION = 100
_EXPANSION_FLOOR = 256 * 2**20
# Others (LZMA) allocate what the file says before any byte is unpacked.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1


@contextlib.contextmanager
def open_archive(
    path: str | pathlib.Path, *, limit: int = LARGEST
) -> Iterator[zipfile.ZipFile]:
    """Opens a zip archive whose members may be read one by one.

    What a member declares is an upper bound of what reading it gives.

    Args:
        path: the file.
        limit: int, bytes that all members may unpack to.

    Raises:
        ValueError: where the archive is broken, has a member twice, more than
            10,000 members, encrypted ones or ones of a rare compression, or
            unpacks to more than `limit` or out of proportion to its size.
    """
    path = pathlib.Path(path)
    try:
        archive = zipfile.ZipFile(path)
    except Exception as error:
        raise ValueError(f"it is no zip archive: {error}") from error
    with archive:
        _check_members(archive.infolist(), path.stat().st_size, limit)
        yield archive


def allowed_size(stored: int) -> int:
    """Bytes that a file of `stored` bytes may unpack to."""
    return max(_EXPANSION_FLOOR, _EXPANSION * stored)


def _check_members(members, stored, limit):
    if len(members) > _MOST_MEMBERS:
        raise ValueError(f"it has {len(members)} members")
    names = [member.filename for member in members]
    if len(set(names)) != len(names):
        raise ValueError("it has two members of one name")
    for member in members:
        if member.flag_bits & _ENCRYPTED or member.compress_type not in (
            _METHODS
        ):
            raise ValueError(
                f"its member {member.filename!r} is encrypted or of a rare "
                "compression"
            )
    unpacked = sum(member.file_size for member in members)
    if unpacked > min(limit, allowed_size(stored)):
        raise ValueError(
            f"its {stored} bytes unpack to {unpacked} bytes, out of proportion"
        )
