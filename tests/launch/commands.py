"""Starts commands of `launch`: in this process, or each in its own."""

import contextlib
import importlib
import io
import pathlib
import subprocess
import sys
import typing
from unittest import mock

import tensorflow as tf
from absl import logging
from absl.testing import flagsaver

ROOT = pathlib.Path(__file__).parents[2]


class Ended(typing.NamedTuple):
    """How a command ended, as `subprocess.run` tells it."""

    returncode: int
    stdout: str
    stderr: str


def here(name: str, *flags) -> Ended:
    """Runs a command in this process, which has TensorFlow loaded.

    Without what TensorFlow could not take back: `--deterministic`.
    """
    command = importlib.import_module(f"launch.{name}")
    argv = [f"launch/{name}.py", *map(str, flags)]
    out, error = io.StringIO(), io.StringIO()
    status = 0
    verbosity = logging.get_verbosity()
    with (
        flagsaver.flagsaver(),
        mock.patch.object(sys, "argv", argv),
        mock.patch.object(
            tf.config.experimental, "enable_op_determinism", lambda: None
        ),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(error),
    ):
        try:
            command.main()
        except SystemExit as end:
            status = end.code or 0
            if isinstance(status, str):  # As Python does at its exit.
                print(status, file=error)
                status = 1
    logging.set_verbosity(verbosity)
    return Ended(status, out.getvalue(), error.getvalue())


def alone(name: str, *flags) -> Ended:
    """Runs a command as a user does, in a process of its own."""
    process = start(name, *flags)
    out, error = process.communicate(timeout=300)
    return Ended(process.returncode, out, error)


def start(name: str, *flags) -> subprocess.Popen:
    """Starts a command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", f"launch.{name}", *map(str, flags)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
