"""The examples run, in small."""

import json
import runpy
import sys

import keras
import numpy as np
import pages
import planted
import pytest

import tfbackdoor

_EXAMPLES = pages.ROOT / "examples"
_NOTEBOOK = _EXAMPLES / "purify_digits.ipynb"


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A folder, gone into, where defenses take a few steps."""
    monkeypatch.chdir(tmp_path)
    pages.shorten_defenses(monkeypatch)
    return tmp_path


def _quickly_trained(name, image_shape, classes, **settings):
    """A network in place of the one that is named."""
    return keras.Sequential(
        [
            keras.Input(image_shape),
            keras.layers.Conv2D(4, 3, padding="same", name="conv"),
            keras.layers.Flatten(),
            keras.layers.Dense(classes),
        ]
    )


def _cells():
    return json.loads(_NOTEBOOK.read_text(encoding="utf-8"))["cells"]


@pytest.mark.filterwarnings("ignore::tfbackdoor.defenses.DefenseWarning")
def test_the_notebook_runs(small, monkeypatch):
    monkeypatch.setattr(tfbackdoor, "build_network", _quickly_trained)
    tool = runpy.run_path(str(pages.ROOT / "tools" / "notebook.py"))
    cells = _cells()
    names = tool["run"](cells, pages.shortened)
    assert names["purified"].input_shape == names["classifier"].input_shape
    assert (small / "purified" / "report.html").is_file()
    assert _kinds(cells) == _kinds(_cells())


def _kinds(cells):
    """What kinds of outputs each cell shows: text, pictures."""
    return [
        [sorted(output.get("data", output)) for output in cell["outputs"]]
        for cell in cells
        if cell["cell_type"] == "code"
    ]


def test_the_notebook_is_small_and_names_no_folder_of_ours():
    text = _NOTEBOOK.read_text(encoding="utf-8")
    assert len(text) < 400_000
    assert "/home/" not in text and "/tmp/" not in text


def test_the_script_purifies_a_model_of_ones_own(small, monkeypatch, capsys):
    planted.classifier().save("suspicious.keras")
    images, labels = next(planted.images(96).batch(96).as_numpy_iterator())
    np.savez("clean.npz", train_images=images, train_labels=labels)
    monkeypatch.setattr(
        sys, "argv", ["own_model.py", "suspicious.keras", "clean.npz", "out"]
    )
    runpy.run_path(str(_EXAMPLES / "own_model.py"), run_name="__main__")
    assert "The scan says" in capsys.readouterr().out
    purified = keras.saving.load_model(small / "out" / "classifier.keras")
    assert purified.output_shape == (None, planted.CLASSES)
    assert (small / "out" / "report.html").is_file()
