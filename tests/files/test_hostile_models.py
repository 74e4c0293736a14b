import json
import zipfile

import h5py
import hostile
import keras
import numpy as np
import pytest

import tfbackdoor
from tfbackdoor.files import keras_configs
from tfbackdoor.files import keras_files
from tfbackdoor.files import keras_weights
from tfbackdoor.files import zip_archives

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*HDF5 file"),
    pytest.mark.filterwarnings("ignore:Duplicate name"),
]
SUFFIXES = pytest.mark.parametrize("suffix", [".keras", ".h5"])


def _refused(path, message):
    with pytest.raises(ValueError, match=f"`path`.*{message}") as refusal:
        tfbackdoor.load_classifier(path)
    assert len(str(refusal.value).splitlines()) == 1


@SUFFIXES
def test_code_in_a_lambda_does_not_run(tmp_path, suffix):
    flag = tmp_path / "flag"
    path = hostile.with_layer(
        tmp_path,
        suffix,
        module="keras.layers",
        name="Lambda",
        config={"name": "victim", "function": hostile.code(flag)},
    )
    _refused(path, "Lambda layer, which needs custom code")
    assert not flag.exists()


@SUFFIXES
def test_code_runs_only_where_it_is_allowed_loudly(tmp_path, suffix):
    flag = tmp_path / "flag"
    path = hostile.with_layer(
        tmp_path,
        suffix,
        module="keras.layers",
        name="Lambda",
        config={
            "name": "victim",
            "function": hostile.code(flag),
            "output_shape": [192],
            "arguments": {},
        },
    )
    # The code runs, although what it gives, the images, does not suit.
    with (
        pytest.warns(UserWarning, match="whatever code is in .* is run"),
        pytest.raises(ValueError, match="`path`"),
    ):
        tfbackdoor.load_classifier(path, allow_unsafe_code=True)
    assert flag.exists()


@SUFFIXES
@pytest.mark.parametrize(
    ("module", "name", "config"),
    [
        ("os", "system", {"command": "true"}),
        ("subprocess", "Popen", {"args": ["true"]}),
        ("numpy", "load", {"file": "x"}),
        ("keras.utils", "get_file", {"origin": "file:///etc/passwd"}),
        ("keras", "utils.get_file", {"origin": "file:///etc/passwd"}),
        ("keras.config", "enable_unsafe_deserialization", {}),
        ("keras.saving", "load_model", {"filepath": "x"}),
        ("keras.src.saving.saving_lib", "load_model", {"filepath": "x"}),
        ("tfbackdoor.network.loading", "load_classifier", {"path": "x"}),
        ("keras.layers", "TFSMLayer", {"filepath": "x"}),
        ("keras.layers", "StringLookup", {"vocabulary": "/etc/passwd"}),
        ("keras.layers", "TorchModuleWrapper", {"module": "x"}),
        ("keras.src.layers.core.lambda_layer", "Lambda", {}),
        ("keras.layers", "Dense", {"units": 2**40}),
        ("keras.layers", "LSTM", {"units": 2, "unroll": True}),
        (None, "NobodyRegisteredThis", {}),
    ],
)
def test_a_config_names_nothing_but_networks(
    tmp_path, suffix, module, name, config
):
    _refused(
        hostile.with_layer(
            tmp_path, suffix, module=module, name=name, config=config
        ),
        "its config ",
    )


def test_functions_come_from_keras_or_the_registry():
    def config(name, module="builtins"):
        return {"class_name": "function", "config": name, "module": module}

    keras_configs.check(config("relu"))
    keras_configs.check(config("tanh", "keras.ops"))
    for name, module in (
        ("eval", "builtins"),
        ("enable_unsafe_deserialization", "keras.config"),
        ("relu.__globals__", "builtins"),
    ):
        with pytest.raises(ValueError, match="names the function"):
            keras_configs.check(config(name, module))


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("__lambda__", {"code": ""}, "names '__lambda__'"),
        ("__typespec__", {}, "names '__typespec__'"),
        ("__numpy__", {"value": ["a"], "dtype": "S1000000000"}, "of dtype"),
    ],
)
def test_values_of_a_config_are_plain(name, config, message):
    with pytest.raises(ValueError, match=message):
        keras_configs.check({"class_name": name, "config": config})


def test_registered_classes_may_be_named():
    keras_configs.check(
        {
            "module": None,
            "class_name": "NeuronMask",
            "registered_name": "tfbackdoor>NeuronMask",
            "config": {},
        }
    )


def test_a_registered_name_does_not_let_a_lambda_pass():
    with pytest.raises(ValueError, match="Lambda"):
        keras_configs.check(
            {"class_name": "Lambda", "registered_name": "no", "config": {}}
        )


def test_deep_configs_are_refused():
    deep = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    with pytest.raises(ValueError, match="nested too deeply"):
        keras_configs.read_config(deep)


@SUFFIXES
def test_a_network_far_larger_than_its_weights_is_not_built(tmp_path, suffix):
    # 192 x 1,000,000 float32 are 768 MB, beside some kilobytes stored.
    path = hostile.with_config(
        tmp_path,
        suffix,
        lambda tree: tree["config"]["layers"][-1]["config"].update(units=10**6),
    )
    _refused(path, "out of proportion to the [0-9]+ bytes stored")


def test_variables_are_free_again_after_loading(tmp_path):
    with (
        pytest.raises(ValueError, match="out of proportion"),
        keras_weights.limited_variables(0),
    ):
        keras.Variable(np.zeros(2))  # No shape asked for.
        keras.layers.Dense(10**5).build((None, 10**4))
    layer = keras.layers.Dense(2**13)
    layer.build((None, 2**12))  # 128 MiB, over the slack of the limit.
    assert layer.kernel.shape == (2**12, 2**13)


def test_images_that_become_too_large_are_refused(tmp_path):
    def change(tree):
        tree["config"]["layers"][0]["config"]["batch_shape"][1:3] = [2**14] * 2
        victim = tree["config"]["layers"][1]
        victim.update(class_name="GlobalMaxPooling2D", config={})
        victim["build_config"] = None
        tree["config"]["layers"][2].update(build_config=None)
        tree["build_config"] = None

    path = hostile.with_config(tmp_path, ".keras", change)
    # Input alone: 2^14 * 2^14 * 3 numbers.
    _refused(path, "(numbers in its layers|fails with)")


def _external(group):
    del group["0"]
    group["0"] = h5py.ExternalLink("/etc/passwd", "/x")


def _soft(group):
    del group["0"]
    group["0"] = h5py.SoftLink("/layers")


def _raw_external(group):
    del group["0"]
    group.create_dataset(
        "0", (192, 3), "f4", external=[("/etc/passwd", 0, 192 * 12)]
    )


def _absurd(group):
    del group["0"]
    group.create_dataset(
        "0", (10**7, 10**5), "f4", chunks=(1000, 1000), compression="gzip"
    )


def _text(group):
    del group["0"]
    group.create_dataset("0", (3,), h5py.string_dtype())


def _rare_filter(group):
    del group["0"]
    group.create_dataset("0", (192, 3), "f4", compression="lzf")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_external, "holds a ExternalLink"),
        (_soft, "holds a SoftLink"),
        (_raw_external, "lies in another file"),
        (_absurd, "out of proportion"),
        (_text, "an array of object"),
        (_rare_filter, "rare compression"),
    ],
)
def test_weights_stay_in_the_file_and_in_proportion(tmp_path, change, message):
    _refused(hostile.with_weights(tmp_path, change), message)


def test_a_crash_of_hdf5_is_a_refusal(tmp_path, monkeypatch):
    script = tmp_path / "crash.py"
    script.write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    monkeypatch.setattr(keras_weights, "_SCRIPT", script)
    hostile.classifier().save(tmp_path / "c.keras")
    _refused(tmp_path / "c.keras", "HDF5 crashes on them")


def test_a_hang_of_hdf5_is_a_refusal(tmp_path, monkeypatch):
    script = tmp_path / "hang.py"
    script.write_text("import time; time.sleep(60)")
    monkeypatch.setattr(keras_weights, "_SCRIPT", script)
    monkeypatch.setattr(keras_weights, "_SECONDS", 1.0)
    hostile.classifier().save(tmp_path / "c.keras")
    _refused(tmp_path / "c.keras", "cannot be read in 1 second")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../../evil", "in place of config.json"),
        ("/etc/evil", "in place of config.json"),
        ("assets/vocabulary.txt", "in place of config.json"),
        ("config.json", "two members of one name"),
    ],
)
def test_an_archive_holds_three_members_of_known_names(tmp_path, name, message):
    path = hostile.with_members(tmp_path, {}, [(name, b"x")])
    _refused(path, message)
    assert [p.name for p in tmp_path.iterdir()] == ["c.keras"]


def test_an_archive_that_unpacks_out_of_proportion_is_refused(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(zip_archives, "_EXPANSION_FLOOR", 2**20)
    path = tmp_path / "c.keras"
    hostile.bomb(path, "config.json", 2**24)
    _refused(path, "out of proportion")


def test_configs_of_wrong_kinds_are_one_sentence(tmp_path):
    for value in ({}, 7, None, "x"):
        path = hostile.with_config(
            tmp_path, ".keras", lambda tree, v=value: tree.update(config=v)
        )
        _refused(path, "")


def test_the_version_of_keras_that_saved_a_file_is_named(tmp_path):
    path = hostile.with_config(
        tmp_path, ".keras", lambda tree: tree.update(config=7)
    )
    newer = tmp_path / "newer.keras"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(newer, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "metadata.json":
                content = json.dumps({"keras_version": "99.1.0"})
            new.writestr(name, content)
    _refused(newer, rf"saved by Keras 99.1.0 \(this is {keras.__version__}\)")


def test_members_without_a_header_are_refused(tmp_path):
    path = tmp_path / "c.keras"
    hostile.classifier().save(path)
    path.write_bytes(path.read_bytes().replace(b"PK\x03\x04", b"none"))
    _refused(path, "Bad magic number")


def test_the_foreign_classifiers_load(shared):
    for path in (shared / "data" / "foreign").glob("*.keras"):
        saved_by = keras_files.keras_version(path)
        if _numbers(saved_by) > _numbers(keras.__version__):
            pytest.skip(f"{path.name} was saved by a newer Keras, {saved_by}")
        assert (
            tfbackdoor.network.class_count(tfbackdoor.load_classifier(path))
            >= 10
        )


def _numbers(version):
    return tuple(map(int, version.split(".")[:2]))
