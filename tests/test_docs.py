"""What the pages show runs, and what they name is there."""

import functools
import importlib
import re
import subprocess
import sys

import keras
import numpy as np
import pages
import planted
import pytest

import tfbackdoor

_PAGES = sorted(
    str(path.relative_to(pages.ROOT))
    for path in [
        *pages.ROOT.glob("*.md"),
        *pages.ROOT.glob("docs/**/*.md"),
        *pages.ROOT.glob("benchmarks/*.md"),
    ]
)
_GUIDE = "docs/guide.md"
_COMMAND = re.compile(r"(?:python -m launch\.|exec tfbackdoor-)(.*)")
_CONTINUED = re.compile(r"\\\n\s*")
_NAME = re.compile(r"\btfbackdoor((?:\.[a-zA-Z_]\w*)+)")
_LINK = re.compile(r"\]\(([^)#\s]+)?(?:#([^)]+))?\)")
_FILES = (".py", ".npz", ".md", ".css", ".html")


def _text(page):
    return (pages.ROOT / page).read_text(encoding="utf-8")


@pytest.fixture
def suspicious(tmp_path, monkeypatch):
    """A folder, gone into, with the files that the pages speak of."""
    monkeypatch.chdir(tmp_path)
    inputs = keras.Input((8, 8, 1))
    same = keras.layers.Conv2D(1, 1, kernel_initializer="ones")(inputs)
    logits = planted.classifier()(same)
    keras.Model(inputs, logits).save("suspicious.keras")
    images, labels = next(planted.images(96).batch(96).as_numpy_iterator())
    np.savez(
        "clean.npz",
        train_images=images,
        train_labels=labels,
        test_images=images,
        test_labels=labels,
    )
    pages.shorten_defenses(monkeypatch)


@pytest.mark.filterwarnings("ignore::tfbackdoor.defenses.DefenseWarning")
def test_the_python_of_the_guide_runs(suspicious):
    namespace = {}
    for block in pages.python_blocks(_GUIDE):
        pages.run(pages.shortened(block), _GUIDE, namespace)
    assert namespace["purified"].input_shape == (None, 8, 8, 1)


def test_the_landing_page_shows_where_the_guide_begins():
    (block,) = pages.python_blocks("README.md")
    assert block.strip() == pages.python_blocks(_GUIDE)[0].strip()


@pytest.mark.parametrize("page", _PAGES)
def test_the_python_of_a_page_can_be_read(page):
    for block in pages.python_blocks(page):
        compile(block, page, "exec")


def _resolve(names):
    """Whether `.name.name` is there, as attribute or module."""
    found = tfbackdoor
    for number, name in enumerate(names, start=1):
        if not hasattr(found, name):
            importlib.import_module(".".join(["tfbackdoor", *names[:number]]))
        found = getattr(found, name)
    return found


@pytest.mark.parametrize("page", _PAGES)
def test_every_name_on_a_page_is_there(page):
    for dotted in _NAME.findall(_text(page)):
        if not dotted.endswith(_FILES):
            _resolve(dotted.split(".")[1:])


@functools.cache
def _flags(launcher):
    shown = subprocess.run(
        [sys.executable, "-m", f"launch.{launcher}", "--help"],
        cwd=pages.ROOT,
        capture_output=True,
        text=True,
    ).stdout
    flags = set()
    for negated, name in re.findall(r"--(\[no\])?([a-z]\w*)", shown):
        flags |= {name, f"no{name}"} if negated else {name}
    assert "output" in flags, f"no launcher {launcher}"
    return flags


def _commands(page):
    """The launcher and the flags of each command on a page."""
    for command in _COMMAND.findall(_CONTINUED.sub(" ", _text(page))):
        launcher = re.match(r"\w+", command)
        if launcher and launcher.group() != "NAME":
            yield launcher.group(), re.findall(r"--([a-z]\w*)", command)


@pytest.mark.parametrize("page", _PAGES)
def test_every_flag_in_a_command_is_one_of_its_launcher(page):
    for launcher, flags in _commands(page):
        known = _flags(launcher) | {"help", "flagfile"}
        assert set(flags) <= known, f"{launcher}: {set(flags) - known}"


def _anchors(page):
    """What GitHub makes of the headings of a page."""
    titles = re.findall(r"^#+ (.*)$", _text(page), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        for title in titles
    }


@pytest.mark.parametrize("page", _PAGES)
def test_every_link_on_a_page_leads_somewhere(page):
    for path, anchor in _LINK.findall(_text(page)):
        if path.startswith("http"):
            continue
        target = ((pages.ROOT / page).parent / path).resolve() if path else None
        target = target or pages.ROOT / page
        assert target.exists(), path
        if anchor:
            assert anchor in _anchors(target), f"{path}#{anchor}"


def test_the_landing_page_is_short():
    assert len(_text("README.md").split()) <= 700
