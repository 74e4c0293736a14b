"""Which files hold a Keras model, and the way out where one does not."""

import pathlib
import zipfile

import h5py

_ARCHIVE, _HDF5 = "a .keras archive", "an .h5 file"
# From the end of a name to the kinds that it may be.
_SUFFIXES = {".keras": (_ARCHIVE,), ".h5": (_HDF5,), ".hdf5": (_HDF5,)}
_OF_PYTORCH = (
    ", weights of PyTorch: load_pytorch_weights, or launch.convert, puts them "
    "into a Keras network."
)
_CONVERTED = (
    ", a model that was converted: give the Keras model it was made of."
)
_OTHER_FILES = {
    **dict.fromkeys((".pt", ".pth", ".safetensors", ".bin"), _OF_PYTORCH),
    **dict.fromkeys((".onnx", ".tflite", ".pb"), _CONVERTED),
}


def check_path(path: pathlib.Path) -> None:
    """Raises ValueError unless `path` is a file of a kind that loads."""
    if (path / "saved_model.pb").exists():
        raise ValueError(
            f"`path` must be a .keras or .h5 file. Received: {path}, a "
            "SavedModel, whose weights cannot be masked or trained; save the "
            "original model with model.save('model.keras')."
        )
    if not path.is_file():
        raise ValueError(
            f"`path` must be a .keras or .h5 file. Received: {path}, "
            f"{'a folder' if path.is_dir() else 'which does not exist'}."
        )
    kind = _kind(path)
    if path.suffix not in _SUFFIXES:
        way_out = _OTHER_FILES.get(path.suffix, "")
        if kind:
            way_out = f", {kind}: name it so."
        raise ValueError(
            f"`path` must end in .keras or .h5. Received: {path}{way_out}"
        )
    if kind not in _SUFFIXES[path.suffix]:
        raise ValueError(
            f"`path` must be {_SUFFIXES[path.suffix][0]}. Received: {path}, "
            f"which is {kind or 'corrupt or of another kind'}."
        )


def _kind(path):
    """What kind of model file its first bytes say that it is, if any."""
    if zipfile.is_zipfile(path):
        return _ARCHIVE
    return _HDF5 if h5py.is_hdf5(path) else None
