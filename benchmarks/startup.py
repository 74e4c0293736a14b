"""Seconds to a launcher's help, and to the quickstart's first step.

python benchmarks/startup.py
"""

import subprocess
import sys
import tempfile
import time

_LAUNCHERS = ("quickstart", "train", "anp", "nad", "evaluate", "convert")


def main():
    for name in _LAUNCHERS:
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", f"launch.{name}", "--help"],
            stdout=subprocess.DEVNULL,
        )
        print(f"{name} --help: {time.perf_counter() - start:.2f} s")
    print(f"first step of the quickstart: {_first_step():.1f} s")


def _first_step():
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        process = subprocess.Popen(
            [
                sys.executable,
                "-um",
                "launch.quickstart",
                f"--output={folder}/run",
            ],
            stdout=subprocess.PIPE,
        )
        seen = b""
        while b"/step" not in seen and (more := process.stdout.read1()):
            seen += more
        seconds = time.perf_counter() - start
        process.kill()
        process.wait()
    return seconds


if __name__ == "__main__":
    main()
