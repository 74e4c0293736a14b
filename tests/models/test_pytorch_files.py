import json
import struct

import keras
import numpy as np
import pytest

import tfbackdoor


def _classifier():
    return keras.Sequential(
        [
            keras.Input((4, 4, 3)),
            keras.layers.Flatten(),
            keras.layers.Dense(2, name="fc"),
        ]
    )


_ARRAYS = {
    "fc.weight": np.arange(96, dtype="float32").reshape(2, 48),
    "fc.bias": np.float32([1.0, 2.0]),
}


def _save_safetensors(path, arrays):
    header, content = {}, b""
    for name, array in arrays.items():
        places = [len(content), len(content) + array.nbytes]
        header[name] = {
            "dtype": "F32",
            "shape": array.shape,
            "data_offsets": places,
        }
        content += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_weights_are_read_from_both_kinds_of_file(tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    if suffix == ".npz":
        np.savez(path, **_ARRAYS)
    else:
        _save_safetensors(path, _ARRAYS)
    classifier = _classifier()
    tfbackdoor.load_pytorch_weights(classifier, path)
    kernel, bias = classifier.get_weights()
    np.testing.assert_array_equal(kernel, _ARRAYS["fc.weight"].T)
    np.testing.assert_array_equal(bias, [1.0, 2.0])


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin"])
def test_a_pickle_is_not_read_and_the_way_out_is_told(tmp_path, suffix):
    path = tmp_path / f"student{suffix}"
    path.write_bytes(b"\x80\x04never read")
    with pytest.raises(
        ValueError,
        match=r"a pickle.*torch\.load\('student.*weights_only=True\); "
        r"numpy\.savez\('student\.npz', \*\*\{name: array",
    ) as refusal:
        tfbackdoor.load_pytorch_weights(_classifier(), path)
    assert len(str(refusal.value).splitlines()) == 1


def test_another_kind_of_file_names_those_that_are_read(tmp_path):
    with pytest.raises(ValueError, match=r"\.npz or \.safetensors.*w\.onnx"):
        tfbackdoor.load_pytorch_weights(_classifier(), tmp_path / "w.onnx")
