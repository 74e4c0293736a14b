"""What CONTRIBUTING.md shows works as it stands there."""

import inspect
from unittest import mock

import pages
import pytest

import tfbackdoor

_PAGE = "CONTRIBUTING.md"
_TESTS = [
    "test_tiny_gives_a_logit_for_each_class",
    "test_white_corner_is_trained_with_and_kept",
    "test_a_share_of_zero_changes_nothing",
    "test_a_share_out_of_range_is_refused",
]


@pytest.fixture(scope="module")
def names():
    """What all blocks define; their rows are taken out of the tables again."""
    with (
        mock.patch.dict(tfbackdoor.ATTACKS),
        mock.patch.dict(tfbackdoor.DEFENSES),
        mock.patch.dict(tfbackdoor.NETWORKS),
    ):
        namespace = {"__name__": _PAGE}
        for block in pages.python_blocks(_PAGE):
            pages.run(block, _PAGE, namespace)
        yield namespace


@pytest.mark.parametrize("name", _TESTS)
def test_an_example_passes_its_own_test(names, name, request):
    test = names[name]
    test(
        **{
            argument: request.getfixturevalue(argument)
            for argument in inspect.signature(test).parameters
        }
    )


def test_every_test_on_the_page_is_run(names):
    assert [name for name in names if name.startswith("test_")] == _TESTS
