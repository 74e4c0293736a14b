"""Packaging; `pip install .` or `pip install '.[test]'`."""

import pathlib
import re

import setuptools

_ROOT = pathlib.Path(__file__).parent
_COMMANDS = (
    "quickstart",
    "purify",
    "scan",
    "train",
    "anp",
    "nad",
    "defend",
    "evaluate",
    "convert",
    "benchmark",
    "analyze",
)
# What writes and reads the ONNX files of export_classifier.
_EXPORT = ["onnx>=1.17", "onnxruntime>=1.20", "tf2onnx>=1.16.1"]
_TEST = ["pytest>=8", "pytest-xdist>=3.6", "safetensors>=0.4", *_EXPORT]
_SOURCE = "https://github.com/tfbackdoor/tfbackdoor"


def _read(path):
    return (_ROOT / path).read_text(encoding="utf-8")


def _version():
    """The package's own, which would need TensorFlow to import."""
    found = re.search('__version__ = "(.+)"', _read("tfbackdoor/version.py"))
    return found.group(1)


setuptools.setup(
    name="tfbackdoor",
    version=_version(),
    description="Finds and removes backdoors in Keras image classifiers",
    long_description=_read("README.md"),
    long_description_content_type="text/markdown",
    project_urls={"Source": _SOURCE, "Issues": f"{_SOURCE}/issues"},
    keywords=[
        "adversarial neuron pruning",
        "backdoor",
        "backdoor defense",
        "keras",
        "neural attention distillation",
        "tensorflow",
        "trojan",
    ],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Security",
        "Typing :: Typed",
    ],
    license="Apache-2.0",
    license_files=["LICENSE", "tfbackdoor/data/embedded/NOTICE.md"],
    python_requires=">=3.10,<3.14",
    # A top-level `launch` would be that of ROS 2.
    packages=setuptools.find_packages(include=["tfbackdoor", "tfbackdoor.*"])
    + [
        f"tfbackdoor_{name}"
        for name in setuptools.find_packages(include=["launch", "launch.*"])
    ],
    package_dir={"tfbackdoor_launch": "launch"},
    package_data={
        "tfbackdoor": ["py.typed"],
        "tfbackdoor.data": ["embedded/*"],
        "tfbackdoor.report": ["report.html", "report.css"],
    },
    install_requires=[
        "absl-py>=2.1",
        "filelock>=3.12",
        "jinja2>=3.1",
        # The releases without known ways past safe_mode (CVE-2025-1550, -8747,
        # -9905, -9906, -12060, CVE-2026-1462); 3.12 is the last for Python
        # 3.10 and has the fixes backported.
        "keras>=3.12.4,!=3.13.*,!=3.14.0,<4",
        "matplotlib>=3.8",
        "numpy>=1.26",
        "pillow>=10.3",
        "tensorflow>=2.18,<3",
        "tensorflow-datasets>=4.9.7",
    ],
    extras_require={
        "analysis": ["scikit-learn>=1.4"],  # t-SNE in launch.analyze.
        "export": _EXPORT,
        "test": _TEST,
        "dev": [*_TEST, "build>=1.2", "mypy>=1.13", "pre-commit>=4", "ruff"],
    },
    entry_points={
        "console_scripts": [
            f"tfbackdoor-{name} = tfbackdoor_launch.{name}:main"
            for name in _COMMANDS
        ]
    },
)
