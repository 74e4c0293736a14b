"""Runs tests under several versions of TensorFlow, each in a fresh venv.

    python tools/versions.py --select tests/network/test_classifiers.py

For each of `--versions` (TensorFlow, and the Keras it is run with), makes a
virtual environment under `--work`, installs this package with the newest
dependencies that go with it, runs the tests and prints a row of a Markdown
table. Other Pythons: `--python python3.12`, which must be on this machine.
"""

import argparse
import pathlib
import re
import subprocess
import sys
import tempfile

_ROOT = pathlib.Path(__file__).parents[1]
VERSIONS = ("2.21:3.15", "2.20:3.15", "2.19:3.12")
# What TensorFlow Datasets needs under the protobuf of an older TensorFlow.
_BESIDE = {"2.19": ["tensorflow-metadata<1.18"]}
_INSTALLED = (
    "import sys, keras, tensorflow; "
    "print(tensorflow.__version__, keras.__version__, "
    "'.'.join(map(str, sys.version_info[:3])))"
)


def requirements(version: str) -> list[str]:
    """What pip is asked for: `"2.20:3.15"` is TensorFlow and Keras minors."""
    if not re.fullmatch(r"\d+\.\d+:\d+\.\d+", version):
        raise SystemExit(
            "`--versions` must be TENSORFLOW:KERAS minors such as 2.20:3.15. "
            f"Received: {version}"
        )
    tensorflow, keras = version.split(":")
    return [
        f"tensorflow=={tensorflow}.*",
        f"keras=={keras}.*",
        *_BESIDE.get(tensorflow, ()),
    ]


def check(version, work, python, select) -> tuple[str, bool]:
    """One row of the table, and whether all tests passed."""
    place = work / version.replace(":", "-")
    run = subprocess.run
    run([python, "-m", "venv", str(place)], check=True)
    inner = str(place / "bin" / "python")
    install = [inner, "-m", "pip", "install", "-q", f"{_ROOT}[test]"]
    done = run(install + requirements(version), capture_output=True, text=True)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:]
        return f"| {version} | | | cannot be installed: {reason} |", False
    quiet = {"capture_output": True, "text": True, "cwd": _ROOT}
    found = run([inner, "-c", _INSTALLED], **quiet).stdout.split()
    tests = run([inner, "-m", "pytest", *select], **quiet)
    (place / "tests.log").write_text(tests.stdout + tests.stderr)
    summary = (tests.stdout.strip().splitlines() or ["no output"])[-1]
    for line in tests.stdout.splitlines():
        if line.startswith(("FAILED", "ERROR")):
            print(line, flush=True)
    return (
        f"| {' | '.join(found)} | {summary.strip('= ')} |",
        tests.returncode == 0,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--versions", nargs="+", default=VERSIONS)
    parser.add_argument("--select", nargs="+", default=["tests"])
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--work", help="a folder to keep; default a new one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = pathlib.Path(arguments.work or scratch).absolute()
        work.mkdir(parents=True, exist_ok=True)
        rows = [
            check(version, work, arguments.python, arguments.select)
            for version in arguments.versions
        ]
    print(f"Tests: {' '.join(arguments.select)}\n")
    print("| TensorFlow | Keras | Python | tests |\n|---|---|---|---|")
    print("\n".join(row for row, _ in rows))
    sys.exit(not all(passed for _, passed in rows))


if __name__ == "__main__":
    main()
