"""Commands take classifiers of other forms, and write them as they came."""

import json
import types

import commands
import keras
import numpy as np
import planted
import pytest

import tfbackdoor
from launch.flags import export

L = keras.layers


def _data(folder, labels=lambda y: y):
    arrays = {}
    for seed, split in enumerate(("train", "test")):
        images, given = next(iter(planted.images(120, seed).batch(120)))
        arrays |= {f"{split}_images": images}
        arrays |= {f"{split}_labels": labels(np.asarray(given))}
    np.savez(folder / "images.npz", **arrays)
    return [f"--dataset={folder / 'images.npz'}", f"--output={folder / 'out'}"]


def _two_outputs():
    model = planted.classifier()
    outputs = {"scores": model.output, "other": L.Dense(2)(model.output)}
    return keras.Model(model.input, outputs), {"output": "scores"}


def _of_any_size():
    inputs = keras.Input((None, None, 1))
    model = planted.classifier()
    scores = model(L.Resizing(8, 8, "nearest")(inputs))
    return keras.Model(inputs, scores), {"image_size": (8, 8)}


@pytest.mark.parametrize("build", [_two_outputs, _of_any_size])
def test_the_file_has_what_the_file_had(tmp_path, monkeypatch, build):
    model, given = build()
    model.save(tmp_path / "model.keras")
    loaded = tfbackdoor.load_classifier(tmp_path / "model.keras", **given)
    assert loaded.output_shape == (None, 6)
    assert loaded.input_shape == (None, 8, 8, 1)
    purified = tfbackdoor.copy_classifier(loaded)
    purified.set_weights([2.0 * weight for weight in loaded.get_weights()])
    exported = []
    monkeypatch.setattr(
        tfbackdoor, "export_classifier", lambda *given: exported.append(given)
    )
    monkeypatch.setattr(export, "FLAGS", types.SimpleNamespace(export=None))
    export.write(purified, tmp_path, np.zeros((1, 8, 8, 1)), loaded=loaded)
    assert exported[0][0] is purified
    written = keras.models.load_model(tmp_path / "classifier.keras")
    assert written.input_shape == model.input_shape
    assert written.output_names == model.output_names
    images, _ = next(iter(planted.images(20).batch(20)))
    scores = written(images)
    scores = scores["scores"] if isinstance(scores, dict) else scores
    np.testing.assert_allclose(scores, purified(images), rtol=1e-5)


def _without_channels():
    inputs = keras.Input((8, 8))
    scores = planted.classifier()(L.Reshape((8, 8, 1))(inputs))
    return keras.Model(inputs, scores), lambda y: y, 3


def _one_sigmoid():
    inputs = keras.Input((8, 8, 1))
    scores = planted.classifier(activation="softmax")(inputs)
    unit = L.Dense(1, "sigmoid", name="unit")
    model = keras.Model(inputs, unit(scores))
    unit.set_weights([20.0 * np.eye(6)[:, :1], np.float32([-10.0])])
    return model, lambda y: y == 0, 1


@pytest.mark.parametrize("build", [_without_channels, _one_sigmoid])
def test_a_trigger_is_made_for_what_the_classifier_takes(tmp_path, build):
    model, labels, target = build()
    model.save(tmp_path / "model.keras")
    result = commands.here(
        "evaluate",
        f"--classifier={tmp_path / 'model.keras'}",
        "--trigger=checkerboard",
        f"--target={target}",
        *_data(tmp_path, labels),
    )
    assert result.returncode == 0, result.stderr
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores["clean_accuracy"]["value"] == 1.0
    # All images but the 20 of the target class.
    assert scores["attack_success"]["images"] == 100


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["evaluate", "--classifier=m.keras", "--image_size=0,8"], "above 0"),
        (
            ["evaluate", "--classifier=m.keras", "--image_size=8"],
            "HEIGHT,WIDTH",
        ),
        (["convert", "--weights=w.npz", "--image_shape=a,b,c"], "above 0"),
        (["convert", "--weights=w.npz", "--image_shape=8,8"], "CHANNELS"),
    ],
)
def test_sizes_that_are_none_are_refused(tmp_path, flags, message):
    result = commands.here(*flags, f"--output={tmp_path / 'out'}")
    assert result.returncode == 1
    assert f"{message}" in result.stderr and "Received: " in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["purify", "--clean_images=121"],
            "--clean_images must be at most 120, what",
        ),
        (
            ["defend", "--defense=nad", "--setting=epochs=x", "--smoke"],
            "`epochs` must be a whole number >= 1. Received: epochs='x'",
        ),
        (["scan", "--preprocess=0-255"], "`preprocess`"),
        (
            ["purify", "--class_names=a,b"],
            "`class_names` must be a list of 6 names",
        ),
    ],
)
def test_flags_that_no_method_can_follow_are_refused(tmp_path, flags, message):
    planted.classifier().save(tmp_path / "model.keras")
    command, *others = flags
    result = commands.here(
        command,
        "--clean_images=60",
        *others,
        f"--classifier={tmp_path / 'model.keras'}",
        "--attacker_share=0",
        *_data(tmp_path),
    )
    assert result.returncode == 1
    assert message in result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {
        "model.keras",
        "images.npz",
    }


def test_clean_images_alone_will_do(tmp_path):
    """All of a file with neither a test split nor 500 images are taken."""
    planted.classifier().save(tmp_path / "model.keras")
    images, labels = next(iter(planted.images(90).batch(90)))
    np.savez(tmp_path / "clean.npz", images=images, labels=labels)
    command = [
        "purify",
        "--smoke",
        f"--classifier={tmp_path / 'model.keras'}",
        f"--dataset={tmp_path / 'clean.npz'}",
        "--attacker_share=0",
    ]
    result = commands.here(*command, f"--output={tmp_path / 'out'}")
    assert result.returncode == 0, result.stderr
    assert "No split test: held-out clean images alone" in result.stdout
    assert "Rates over held-out images" in result.stdout
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert sum(report["clean_images"]) == 90 and report["test_scores"] == {}
    result = commands.here(*command, "--test", f"--output={tmp_path / 'no'}")
    assert result.returncode == 1
    assert "must hold the arrays test_images and test_labels" in result.stderr
