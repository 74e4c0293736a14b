"""Kills a launcher at random moments and compares what it makes in the end.

    python tools/kill.py --kills=20 train --deterministic \\
        --network=wide_resnet --depth=10 --epochs=3 --checkpoint_seconds=0

runs the launcher once undisturbed, then again and again with a SIGKILL at a
moment drawn from the time that it took after its first words (before them it
only loads TensorFlow), until so many kills are done; each
time that it comes to its end its masks and weights are compared with the
first run's, byte by byte. `--sigterm` sends SIGTERM in place of SIGKILL.
"""

import argparse
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

_ROOT = pathlib.Path(__file__).parents[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="Of the moments.")
    parser.add_argument("--sigterm", action="store_true")
    parser.add_argument("launcher")
    arguments, launcher_flags = parser.parse_known_args()
    sent = signal.SIGTERM if arguments.sigterm else signal.SIGKILL
    moments = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)

        def run(output, seconds=None):
            command = [sys.executable, "-m", f"launch.{arguments.launcher}"]
            return _run([*command, *launcher_flags], output, seconds, sent)

        _, _, took = run(folder / "whole")
        print(f"Uninterrupted: {took:.1f} s after its first words", flush=True)
        kills = ends = resumed = 0
        while kills < arguments.kills or (folder / ".killed.partial").exists():
            wait = None
            if kills < arguments.kills:
                wait = moments.uniform(0.0, took)
            ended, resumes, _ = run(folder / "killed", wait)
            resumed += resumes
            if ended:
                ends += 1
                compared = _compare(folder / "whole", folder / "killed")
                shutil.rmtree(folder / "killed")
                print(
                    f"End {ends} after {kills} kills: {compared} files equal",
                    flush=True,
                )
            else:
                kills += 1
                print(f"Kill {kills} after {wait:.1f} s", flush=True)
    print(f"{kills} kills, {resumed} fits resumed, {ends} ends, all equal")


def _run(command, output, seconds, sent):
    """Whether it came to its end, how many fits it resumed, and how long."""
    process = subprocess.Popen(
        [*command, f"--output={output}"],
        cwd=_ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    first = process.stdout.readline()
    start = time.monotonic()
    try:
        out, error = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(sent)
        out, error = process.communicate()
    if process.returncode not in (0, -sent, 75):
        sys.exit(f"The launcher failed: {error}")
    resumed = (first + out).count("Resuming from")
    return output.exists(), resumed, time.monotonic() - start


def _compare(one, two):
    """How many files of masks and weights there are; ends where they differ."""
    names = [
        path.relative_to(one)
        for pattern in ("**/*.keras", "**/neuron_masks.npz")
        for path in sorted(one.glob(pattern))
    ]
    for name in names:
        for a, b in zip(_arrays(one / name), _arrays(two / name), strict=True):
            if a.tobytes() != b.tobytes():
                sys.exit(f"{name} differs by {np.abs(a - b).max()}")
    return len(names)


def _arrays(path):
    if path.suffix == ".keras":
        return keras.models.load_model(path, compile=False).get_weights()
    with np.load(path) as arrays:
        return [arrays[name] for name in arrays.files]


if __name__ == "__main__":
    main()
