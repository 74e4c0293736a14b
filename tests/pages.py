"""The code on the pages of the documentation, and a way to run it fast."""

import functools
import pathlib
import re

import tfbackdoor

ROOT = pathlib.Path(__file__).parents[1]
_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LONG = re.compile(r"\b(steps_per_epoch|epochs|iterations|recovery_steps)=\d+")
_SHORT = {
    "purify": {
        "scan_steps": 1,
        "iterations": 1,
        "recovery_steps": 1,
        "hardening_steps": 1,
        "verbose": 0,
    },
    "scan": {"steps": 1, "verbose": 0},
    "defend": {"verbose": 0},
    "self_distill": {"steps": 1, "verbose": 0},
    "NeuralAttentionDistillation": {"teacher_epochs": 1},
}


def python_blocks(page: str) -> list[str]:
    """The Python blocks of a page, each behind as many lines as there."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        "\n" * text.count("\n", 0, found.start(1)) + found.group(1)
        for found in _BLOCK.finditer(text)
    ]


def run(code: str, page: str, namespace: dict) -> None:
    """Runs a block in a namespace, by the lines of its page in tracebacks."""
    exec(compile(code, page, "exec"), namespace)


def shortened(code: str) -> str:
    """The same with one epoch, or step, in each fit."""
    return _LONG.sub(r"\1=1", code)


def shorten_defenses(monkeypatch) -> None:
    """Lets what takes minutes by its defaults take a few steps."""
    for name, settings in _SHORT.items():
        shorter = functools.partial(getattr(tfbackdoor, name), **settings)
        if name == "purify":  # Asked the same again, it gives the same.
            shorter = functools.cache(shorter)
        monkeypatch.setattr(tfbackdoor, name, shorter)
