"""Packaging; `pip install .` or `pip install '.[test]'`."""

import pathlib

import setuptools

_ROOT = pathlib.Path(__file__).parent
_LAUNCHERS = (
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

setuptools.setup(
    name="tfbackdoor",
    version="0.1.0",
    description="Finds and removes backdoors in Keras image classifiers",
    long_description=(_ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE", "tfbackdoor/data/embedded/NOTICE.md"],
    python_requires=">=3.10,<3.14",
    packages=setuptools.find_packages(
        include=["tfbackdoor", "tfbackdoor.*", "launch"]
    ),
    package_data={
        "tfbackdoor.data": ["embedded/*"],
        "tfbackdoor.report": ["report.html", "report.css"],
    },
    install_requires=[
        "absl-py>=2.1",
        "jinja2>=3.1",
        # The releases without known ways past safe_mode (CVE-2025-1550, -8747,
        # -9905, -9906, -12060, CVE-2026-1462); 3.12 is the last for Python
        # 3.10 and has the fixes backported.
        "keras>=3.12.4,!=3.13.*,!=3.14.0,<4",
        "matplotlib>=3.8",
        "numpy>=1.26",
        "tensorflow>=2.18,<3",
        "tensorflow-datasets>=4.9.7",
    ],
    extras_require={
        "analysis": ["scikit-learn>=1.4"],  # t-SNE in launch.analyze.
        "export": _EXPORT,
        "test": ["pytest>=8", "pytest-xdist>=3.6", *_EXPORT],
    },
    entry_points={
        "console_scripts": [
            f"tfbackdoor-{name} = launch.{name}:main" for name in _LAUNCHERS
        ]
    },
)
