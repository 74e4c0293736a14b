import json
import struct

import ml_dtypes
import numpy as np
import pytest

from tfbackdoor import files
from tfbackdoor.files import safetensors


def _file(folder, header, content=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = folder / "weights.safetensors"
    size = len(text) if length is None else length
    path.write_bytes(struct.pack("<Q", size) + text + content)
    return path


def _described(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_arrays_of_each_type_are_read(tmp_path):
    arrays = {
        "weight": np.arange(6, dtype="<f4").reshape(2, 3),
        "half": np.array([0.5, -2.0], "<f2"),
        "brain": np.array([1.5, 3.0], ml_dtypes.bfloat16),
        "count": np.array(7, "<i8"),
        "none": np.zeros((0, 3), "<f8"),
    }
    names = {"<f4": "F32", "<f2": "F16", "<i8": "I64", "<f8": "F64"}
    header, content = {"__metadata__": {"format": "pt"}}, b""
    for name, array in arrays.items():
        end = len(content) + array.nbytes
        dtype = names.get(array.dtype.str, "BF16")
        header[name] = _described(dtype, array.shape, len(content), end)
        content += array.tobytes()
    found = files.read_safetensors(_file(tmp_path, header, content))
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].shape == array.shape
    assert found["brain"].dtype == "float32"


def test_a_file_of_the_package_safetensors_is_read(tmp_path):
    package = pytest.importorskip("safetensors.numpy")
    arrays = {
        "fc.weight": np.random.default_rng(0).random((3, 4)).astype("float32"),
        "steps": np.array([1, 2], "int64"),
    }
    package.save_file(arrays, tmp_path / "w.safetensors", {"format": "pt"})
    found = files.read_safetensors(tmp_path / "w.safetensors")
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


_FOUR = _described("F32", [1], 0, 4)


@pytest.mark.parametrize(
    ("header", "content", "length", "message"),
    [
        ({"a": _FOUR}, bytes(4), 2**63, "header of .* is too long"),
        (b"{}", b"", 3, "header of 3 bytes is too long"),
        (b"[]", b"", None, "holds a list"),
        (b"{nonsense", b"", None, "cannot be read"),
        (b"[" * 10**5, b"", None, "cannot be read"),
        ({"a": _described("F32", [10**12], 0, 4)}, bytes(4), None, "denies"),
        ({"a": _described("F32", [-1, -1], 0, 4)}, bytes(4), None, "by -1"),
        ({"a": _described("F32", [True], 0, 4)}, bytes(4), None, "by True"),
        ({"a": _described("F32", [1.0], 0, 4)}, bytes(4), None, "by 1.0"),
        ({"a": _described("F8_E4M3", [4], 0, 4)}, bytes(4), None, "F8_E4M3"),
        ({"a": _described("F32", [1], 4, 8)}, bytes(8), None, "beside"),
        ({"a": _described("F32", [2], 0, 8)}, bytes(4), None, "beside"),
        ({"a": _FOUR, "b": _FOUR}, bytes(4), None, "beside"),
        ({"a": _FOUR}, bytes(5), None, "longer than its arrays"),
        ({"a": {"dtype": "F32"}}, b"", None, "cannot be read"),
        ({"a": 3}, b"", None, "cannot be read"),
    ],
)
def test_a_broken_file_is_refused_in_one_line(
    tmp_path, header, content, length, message
):
    path = _file(tmp_path, header, content, length)
    with pytest.raises(ValueError, match=f"`path`.*{message}") as refusal:
        safetensors.read_safetensors(path)
    assert len(str(refusal.value).splitlines()) == 1


def test_a_file_beyond_the_limit_is_refused(tmp_path):
    path = _file(tmp_path, {"a": _FOUR}, bytes(4))
    with pytest.raises(ValueError, match="more than 20 bytes"):
        safetensors.read_safetensors(path, limit=20)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        safetensors.read_safetensors(tmp_path / "none.safetensors")
