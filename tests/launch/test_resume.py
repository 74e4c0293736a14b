"""Launchers that are killed, resumed and repeated, bit by bit."""

import json
import pathlib
import re
import signal
import time

import commands
import numpy as np
import planted
import pytest


def _interrupt(output, how, *flags):
    """Sends a signal once there is a checkpoint that was not before."""
    folder = output.with_name(f".{output.name}.partial") / "checkpoints"
    before = set(folder.glob("fit*.npz"))
    process = commands.start("anp", *flags)
    _await_checkpoint(process, folder, before)
    process.send_signal(how)
    _, error = process.communicate(timeout=300)
    return process.returncode, error


def _await_checkpoint(process, folder, before=frozenset()):
    while process.poll() is None and not set(folder.rglob("fit*.npz")) - before:
        time.sleep(0.01)


def _write_images(folder, seed):
    arrays = {}
    for split in ("train", "test"):
        images, labels = next(iter(planted.images(120, seed).batch(120)))
        arrays |= {f"{split}_images": images, f"{split}_labels": labels}
    np.savez(folder / "images.npz", **arrays)


@pytest.fixture(scope="module")
def flags(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    planted.classifier().save(folder / "classifier.keras")
    _write_images(folder, seed=0)
    return [
        f"--classifier={folder / 'classifier.keras'}",
        f"--dataset={folder / 'images.npz'}",
        "--attacker_share=0",
        "--clean_images=60",
        "--iterations=150",
        "--threshold=0.2",
        "--noaugment",
        "--deterministic",
    ]


@pytest.fixture(scope="module")
def whole(flags, tmp_path_factory):
    """The folder of a run that nothing interrupted."""
    output = tmp_path_factory.mktemp("whole") / "out"
    status, _, error = commands.alone("anp", *flags, f"--output={output}")
    assert status == 0, error
    return output


def _assert_same_masks(one, two):
    masks = []
    for folder in (one, two):
        with np.load(folder / "neuron_masks.npz") as arrays:
            masks.append({name: arrays[name].tobytes() for name in arrays})
    assert masks[0] == masks[1]


def test_a_run_killed_twice_ends_with_the_same_bytes(flags, whole, tmp_path):
    output = tmp_path / "out"
    partial = tmp_path / ".out.partial"
    flags = [*flags, f"--output={output}", "--checkpoint_seconds=0"]
    status, _ = _interrupt(output, signal.SIGKILL, *flags)
    assert status == -signal.SIGKILL
    assert not output.exists()
    status, _, error = commands.here("anp", *flags, "--seed=1")
    assert status == 1
    assert "interrupted run with --seed=0" in error
    assert list(partial.glob("checkpoints/[!.]*.npz"))
    status, error = _interrupt(output, signal.SIGTERM, *flags)
    assert status == 75
    assert "the same command goes on" in error
    status, out, error = commands.alone("anp", *flags)
    assert status == 0, error
    assert "Resuming from fit000" in out
    assert not partial.exists()
    _assert_same_masks(whole, output)


def test_repeat_gives_the_same_bytes_from_the_same_data_alone(
    flags, whole, tmp_path
):
    content = json.loads((whole / "run.json").read_text())
    assert content["launcher"] == "anp" and content["seed"] == 0
    assert content["data"]["train"]["images"] == 120
    status, out, error = commands.alone(
        "anp", f"--repeat={whole}", f"--output={tmp_path}/out"
    )
    assert status == 0, error
    assert not re.search("Warning: .* was .* and is ", out)  # Of a version.
    _assert_same_masks(whole, tmp_path / "out")
    status, _, error = commands.here(
        "anp", f"--repeat={whole}", f"--output={tmp_path}/b", "--alpha=0.5"
    )
    assert status == 1 and "Received: --alpha" in error
    dataset = pathlib.Path(flags[1].partition("=")[2])
    _write_images(dataset.parent, seed=5)
    status, _, error = commands.here(
        "anp", f"--repeat={whole}", f"--output={tmp_path}/b"
    )
    assert status == 1
    assert "--dataset must be the file of the earlier run" in error
    assert not list(tmp_path.glob(".b.partial"))


def test_a_benchmark_ended_by_sigterm_goes_on_from_a_checkpoint(tmp_path):
    output = tmp_path / "grid"
    flags = [
        f"--output={output}",
        "--smoke",
        "--processes=1",
        "--attacks=badnets",
        "--defenses=",
        "--epochs=8",
        "--checkpoint_seconds=0",
    ]
    process = commands.start("benchmark", *flags)
    _await_checkpoint(process, output / "trials/badnets/seed0")
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 75
    assert "the same command goes on" in error
    status, out, error = commands.alone("benchmark", *flags)
    assert status == 0, error
    assert "Resuming from fit000" in out
