"""Walks and reads a whole HDF5 file; run as a script of its own.

    python keras_weights_check.py FILE [MEMBER OF A ZIP]

prints the bytes of all its arrays, or ends with one line on stderr. The HDF5
library is known to crash on broken files, so this runs in a process whose
memory and time are bounded; it imports nothing of this package.
"""

import contextlib
import io
import math
import sys
import zipfile

import h5py

_MOST_OBJECTS = 200_000
_LARGEST_ATTRIBUTES = 64 * 2**20  # Bytes.
_EXPANSION = 100
_EXPANSION_FLOOR = 256 * 2**20
_FILTERS = {
    h5py.h5z.FILTER_DEFLATE,
    h5py.h5z.FILTER_SHUFFLE,
    h5py.h5z.FILTER_FLETCHER32,
}
_MEMORY = 2**30  # Bytes, beside what the file takes.
_SECONDS = 10  # Of the processor, beside what the file takes.
_BYTES_PER_SECOND = 20 * 2**20
_MOST_AT_ONCE = 2**26  # Bytes read at a time.


def check(file: h5py.File, stored: int) -> int:
    """The bytes of all arrays of `file`, whose own size is `stored`."""
    pending, seen, total = [file], set(), 0
    while pending:
        item = pending.pop()
        address = h5py.h5o.get_info(item.id).addr
        if address in seen:
            continue
        seen.add(address)
        if len(seen) > _MOST_OBJECTS:
            raise ValueError(f"it has over {_MOST_OBJECTS} objects")
        _check_attributes(item)
        if isinstance(item, h5py.Group):
            pending += _children(item)
        else:
            total += _check_dataset(item)
            if total > max(_EXPANSION_FLOOR, _EXPANSION * stored):
                raise ValueError("its arrays unpack out of proportion")
            _read(item)
    return total


def _children(group):
    for name in group:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise ValueError(f"it holds a {type(link).__name__}")
        child = group[name]
        if not isinstance(child, (h5py.Group, h5py.Dataset)):
            raise ValueError(f"it holds a {type(child).__name__}")
        yield child


def _check_attributes(item):
    total = 0
    for name in item.attrs:
        attribute = h5py.h5a.open(item.id, _bytes(name))
        total += math.prod(attribute.shape) * attribute.dtype.itemsize
        if total > _LARGEST_ATTRIBUTES:
            raise ValueError("its attributes are too large")
        item.attrs[name]


def _bytes(name):
    return name.encode("utf-8", "surrogateescape")


def _check_dataset(dataset):
    if dataset.external or dataset.is_virtual:
        raise ValueError("it holds an array that lies in another file")
    # bfloat16 is kept as two bytes of no kind.
    if dataset.shape is None or not (
        dataset.dtype.kind in "biuf" or dataset.dtype == "V2"
    ):
        raise ValueError(f"it holds an array of {dataset.dtype}")
    settings = dataset.id.get_create_plist()
    filters = {
        settings.get_filter(i)[0] for i in range(settings.get_nfilters())
    }
    if not filters <= _FILTERS:
        raise ValueError("it holds an array of a rare compression")
    return math.prod(dataset.shape) * dataset.dtype.itemsize


def _read(dataset):
    """Reads all, some rows at a time."""
    if not dataset.shape or not dataset.size:
        dataset[()]
        return
    row = max(dataset.nbytes // dataset.shape[0], 1)
    rows = max(_MOST_AT_ONCE // row, 1)
    for start in range(0, dataset.shape[0], rows):
        dataset[start : start + rows]


def _bound_resources(stored):
    # Windows has no such limits; the parent's time limit remains.
    with contextlib.suppress(ImportError):
        import resource

        memory = _MEMORY + max(_EXPANSION_FLOOR, 4 * stored)
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        seconds = _SECONDS + stored // _BYTES_PER_SECOND
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main(path, member=None):
    if member is None:
        source = path
        with open(path, "rb") as file:
            stored = file.seek(0, io.SEEK_END)
    else:
        with zipfile.ZipFile(path) as archive:
            source = io.BytesIO(archive.read(member))
        stored = source.getbuffer().nbytes
    _bound_resources(stored)
    with h5py.File(source, "r") as file:
        print(check(file, stored))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Exception as error:
        lines = str(error).splitlines() or [""]
        sys.exit(f"{lines[0] or type(error).__name__}")
