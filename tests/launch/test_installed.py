"""The commands under the name of their installed package."""

import os
import subprocess
import sys

import commands
import pytest

_HELPER = """
from unittest import mock
from tfbackdoor_launch import benchmark
with mock.patch.object(benchmark.cores, "start") as start:
    with benchmark._helpers("table", [None]):
        pass
print(start.call_args.args[0])
"""


@pytest.fixture
def run(tmp_path):
    """Runs Python in a folder where the package has its installed name."""
    os.symlink(commands.ROOT / "launch", tmp_path / "tfbackdoor_launch")

    def run(*arguments):
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    return run


def test_help_is_that_of_the_installed_command(run):
    told = run("-m", "tfbackdoor_launch.anp", "--help")
    assert "python -m tfbackdoor_launch.anp --classifier" in told
    for flag in ("--epsilon", "--dataset", "--seed", "--checkpoint_seconds"):
        assert flag in told


def test_a_benchmark_starts_processes_of_the_installed_command(run):
    started = run("-c", _HELPER, "--seeds=0")
    assert "'-m', 'tfbackdoor_launch.benchmark'" in started
    assert "'--processes=1', '--output=table'" in started
