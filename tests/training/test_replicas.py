"""Four replicas and two worker processes learn what one device learns."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import trainers

import tfbackdoor
from tfbackdoor.network import devices

_ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def of_one_device():
    return trainers.train_all(tf.distribute.get_strategy())


def _start(out, replicas, environment):
    return subprocess.Popen(
        [sys.executable, "tests/trainers.py", out, str(replicas)],
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": str(_ROOT), **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


def _assert_close(out, process, expected):
    _, error = process.communicate(timeout=500)
    assert process.returncode == 0, error
    with np.load(out) as found:
        assert set(found) == set(expected)
        for name, values in expected.items():
            np.testing.assert_allclose(
                found[name], values, atol=1e-5, err_msg=name
            )


def test_four_replicas_learn_what_one_device_learns(tmp_path, of_one_device):
    out = tmp_path / "four.npz"
    _assert_close(out, _start(out, 4, {}), of_one_device)


@pytest.fixture
def two_ports():
    """Ports that the system gives to nobody else while the test runs.

    They stay bound and do not listen, which lets a server bind them that, as
    TensorFlow's, reuses addresses.
    """
    with socket.socket() as one, socket.socket() as two:
        for holder in (one, two):
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind(("", 0))
        yield [holder.getsockname()[1] for holder in (one, two)]


def test_two_workers_learn_what_one_device_learns(
    tmp_path, of_one_device, two_ports
):
    cluster = {"worker": [f"localhost:{port}" for port in two_ports]}
    outs = [tmp_path / f"worker{index}.npz" for index in range(2)]
    workers = []
    for index, out in enumerate(outs):
        task = {"type": "worker", "index": index}
        config = json.dumps({"cluster": cluster, "task": task})
        workers.append(_start(out, 2, {"TF_CONFIG": config}))
    try:
        for out, worker in zip(outs, workers):
            _assert_close(out, worker, of_one_device)
    finally:
        for worker in workers:
            worker.kill()


@pytest.mark.parametrize(
    ("task", "cluster", "expected"),
    [
        (("worker", 0), ("worker",), True),
        (("worker", 1), ("worker",), False),
        (("chief", 0), ("chief", "worker"), True),
        (("worker", 0), ("chief", "worker"), False),
    ],
)
def test_one_worker_writes(monkeypatch, task, cluster, expected):
    config = {
        "cluster": {kind: ["localhost:1", "localhost:2"] for kind in cluster},
        "task": {"type": task[0], "index": task[1]},
    }
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    assert devices.is_chief() is expected


def test_workers_must_be_named():
    with pytest.raises(ValueError, match="TF_CONFIG"):
        tfbackdoor.make_strategy("multi_worker")
