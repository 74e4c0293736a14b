"""The flags of all commands, which live together in one process."""

import ast
import importlib
import inspect
import re

import commands
import pytest
from absl import flags

import tfbackdoor
from tfbackdoor.defend import defense_settings

_COMMANDS = (
    "analyze",
    "anp",
    "benchmark",
    "convert",
    "defend",
    "evaluate",
    "nad",
    "purify",
    "quickstart",
    "scan",
    "train",
)
_FLAG_OF = {
    "output": "classifier_output",
    "precision": "mixed_precision",
    "rate": "poisoning_rate",
    "steps of scan": "scan_steps",
}
_NO_FLAG = {
    "always",  # A former name of only_if_found.
    "callbacks",
    "clean_classifier",
    "epsilon of scan",
    "tracks",  # --by_track reads them.
    "verbose",
}


def _keywords(function):
    return {
        parameter.name: parameter.default
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
    }


def _fed():
    """The command, flag and default of each keyword of what is run."""
    functions = {
        "anp": defense_settings("anp"),
        "nad": defense_settings("nad"),
        "purify": _keywords(tfbackdoor.purify),
        "scan": _keywords(tfbackdoor.scan),
        "train": _keywords(tfbackdoor.train_attacked),
    }
    for command, keywords in functions.items():
        for name, default in keywords.items():
            if not {name, f"{name} of {command}"} & _NO_FLAG:
                flag = _FLAG_OF.get(name, name)
                flag = _FLAG_OF.get(f"{name} of {command}", flag)
                yield command, flag, default


def _flags(command):
    """The flags of a command by name, of its own and of every one."""
    modules = [importlib.import_module(f"launch.{command}"), "launch.flags.run"]
    return {
        flag.name: flag
        for module in modules
        for flag in flags.FLAGS.get_key_flags_for_module(module)
    }


def test_all_commands_can_be_imported_together():
    for command in _COMMANDS:
        assert _flags(command)["output"].default is None


@pytest.mark.parametrize(("command", "flag", "default"), _fed())
def test_a_keyword_has_a_flag_whose_help_tells_its_default(
    command, flag, default
):
    found = _flags(command)[flag]
    if found.default is not None:
        assert default in (None, found.default)
        return
    if default is not None:
        is_number = type(default) in (int, float)
        told = f"{default:g}" if is_number else str(default).lower()
        assert re.search(rf"(?<![\d.]){told}(?!\.?\d)", found.help)


def test_help_names_what_there_is():
    attacks = _flags("train")["attack"].help
    for name in tfbackdoor.ATTACKS:
        kind = re.sub("_(all_to_all|clean_label)$", "", name)
        assert re.search(rf"\b{kind}(_|\b)", attacks), name
    for table, command, flag in (
        (tfbackdoor.DEFENSES, "defend", "defense"),
        (tfbackdoor.NETWORKS, "train", "network"),
    ):
        for name in table:
            assert name in _flags(command)[flag].help, name


def test_help_of_each_command_has_its_flags_alone():
    for command in _COMMANDS:
        ended = commands.here(command, "--help")
        assert ended.returncode == 0
        told = set(re.findall(r"^  --(?:\[no\])?(\w+):", ended.stdout, re.M))
        assert told == set(_flags(command))
        assert f"python -m launch.{command}" in ended.stdout


def test_a_flag_of_another_command_is_refused():
    ended = commands.here("anp", "--classifier=x", "--teacher_epochs=3")
    assert ended.returncode == 1
    assert (
        ended.stderr == "error: Unknown command line flag 'teacher_epochs'.\n"
    )


def test_a_flag_that_must_be_given_is_named():
    ended = commands.here("defend", "--classifier=x")
    assert ended.stderr == "error: --defense must be given. Received: none.\n"


def _names(path):
    """The dotted names under `tfbackdoor` in a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        parts = []
        while isinstance(node, ast.Attribute):
            parts.insert(0, node.attr)
            node = node.value
        if parts and isinstance(node, ast.Name) and node.id == "tfbackdoor":
            yield parts


def test_commands_use_public_names_only():
    used = [
        (path.name, parts)
        for path in (commands.ROOT / "launch").rglob("*.py")
        for parts in _names(path)
    ]
    assert len(used) > 100
    for file, (first, *rest) in used:
        found = getattr(tfbackdoor, first)
        if first in tfbackdoor.__all__ or not rest:
            continue
        public = getattr(found, "__all__", dir(found))
        assert rest[0] in public, f"tfbackdoor.{first}.{rest[0]} in {file}"
