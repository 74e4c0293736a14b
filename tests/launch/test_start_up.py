"""What of TensorFlow's start is seen."""

import os
import signal
import subprocess
import sys

import commands


def _start(tmp_path, last_words):
    """A command whose TensorFlow says something and ends like this."""
    (tmp_path / "tensorflow.py").write_text(
        "import os\nos.write(2, b'CUDA_ERROR: no kernel image\\n')\n"
        + last_words
    )
    return subprocess.run(
        [sys.executable, "-m", "launch.quickstart", f"--output={tmp_path}/o"],
        cwd=commands.ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )


def test_an_abort_while_tensorflow_is_imported_says_why(tmp_path):
    ended = _start(tmp_path, "os.abort()")
    assert ended.returncode == -signal.SIGABRT
    assert "CUDA_ERROR: no kernel image" in ended.stderr
    assert "Fatal Python error: Aborted" in ended.stderr


def test_an_import_of_tensorflow_that_fails_says_why(tmp_path):
    ended = _start(tmp_path, "raise ImportError('no libcudart')")
    assert ended.returncode == 1
    assert "CUDA_ERROR: no kernel image" in ended.stderr
    assert "ImportError: no libcudart" in ended.stderr


def test_help_needs_no_tensorflow():
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "launch.nad", "--help"],
        cwd=commands.ROOT,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0
    assert "absl.flags" in ended.stderr
    for name in ("tensorflow", "keras", "numpy", "tfbackdoor"):
        assert f" {name}\n" not in ended.stderr
    for flag in ("--teacher_epochs", "--classifier", "--trigger", "--output"):
        assert flag in ended.stdout
