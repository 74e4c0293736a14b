"""Files that were made to do harm, from a small classifier's own."""

import base64
import io
import json
import marshal
import struct
import zipfile
import zlib

import h5py
import keras

IMAGE_SHAPE = (8, 8, 3)


def classifier():
    return keras.Sequential(
        [
            keras.Input(IMAGE_SHAPE),
            keras.layers.Flatten(name="victim"),
            keras.layers.Dense(3, name="head"),
        ]
    )


def _edited(content, change):
    tree = json.loads(content)
    change(tree)
    return json.dumps(tree).encode()


def with_layer(folder, suffix, *, module, name, config, registered=None):
    """A model file whose second layer is described anew."""

    def change(tree):
        layer = next(
            layer
            for layer in tree["config"]["layers"]
            if layer["class_name"] == "Flatten"
        )
        layer.pop("build_config", None)
        layer.update(
            module=module,
            class_name=name,
            config=config,
            registered_name=registered,
        )

    return with_config(folder, suffix, change)


def with_config(folder, suffix, change):
    """A model file whose config went through `change`."""
    path = folder / f"c{suffix}"
    classifier().save(path)
    if suffix == ".h5":
        with h5py.File(path, "r+") as file:
            tree = json.loads(file.attrs["model_config"])
            change(tree)
            file.attrs["model_config"] = json.dumps(tree)
        return path
    return with_members(folder, {"config.json": lambda x: _edited(x, change)})


def with_members(folder, changes, more=()):
    """A `.keras` file with members changed, and `more` pairs added."""
    path = folder / "c.keras"
    classifier().save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, changes.get(name, bytes)(content))
        for name, content in more:
            archive.writestr(name, content)
    return path


def with_weights(folder, change):
    """A `.keras` file whose HDF5 group of the head went through `change`."""

    def edited(content):
        content = io.BytesIO(content)
        with h5py.File(content, "r+") as file:
            change(file["layers/dense/vars"])
        return content.getvalue()

    return with_members(folder, {"model.weights.h5": edited})


def code(flag):
    """A Lambda's function that makes the file `flag`."""

    compiled = compile(
        f"lambda x: (open({str(flag)!r}, 'w').close(), x)[1]", "x", "eval"
    )
    function = next(c for c in compiled.co_consts if hasattr(c, "co_code"))
    return {
        "class_name": "__lambda__",
        "config": {
            "code": base64.b64encode(marshal.dumps(function)).decode(),
            "defaults": None,
            "closure": None,
        },
    }


def png(height, width, rows=b""):
    """A PNG whose header declares that size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def npz_with_shape(path, shape, descr="'<f4'", content=b""):
    """An `.npz` whose one array `mask` declares that shape."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}"
    header = header.ljust(117).encode() + b"\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "mask.npy",
            b"\x93NUMPY\x01\x00"
            + struct.pack("<H", len(header))
            + header
            + content,
        )


def bomb(path, member, size):
    """A zip whose member of zeros unpacks to `size` bytes."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(member, "w", force_zip64=True) as file,
    ):
        block = bytes(2**24)
        for _ in range(size // len(block)):
            file.write(block)
