"""Files that are replaced as a whole."""

import pytest

from tfbackdoor.files import atomic


def test_a_file_takes_the_place_of_the_old_one(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with atomic.replaced(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
        assert (partial.parent, partial.suffix) == (tmp_path, ".csv")
    assert [p.read_text() for p in tmp_path.iterdir()] == ["new"]


def test_an_error_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with (
        pytest.raises(OSError, match="disk is full"),
        atomic.replaced(path) as partial,
    ):
        partial.write_text("ne")
        raise OSError("disk is full")
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]
