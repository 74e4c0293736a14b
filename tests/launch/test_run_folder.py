"""What is around a job: SIGTERM, warnings and the record of its data."""

import json
import signal

import planted
import pytest
from absl import flags
from absl.testing import flagsaver

import tfbackdoor
from launch.running import job
from launch.running import run_folder
from launch.running import run_record


def test_sigterm_ends_a_job_and_then_does_what_it_did_before():
    got = []

    def handler(*_):
        got.append("outside")

    before = signal.signal(signal.SIGTERM, handler)
    try:
        with (
            pytest.raises(tfbackdoor.training.Stopped),
            run_folder.ended_by_sigterm(),
        ):
            signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is handler
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert got == ["outside"]


def test_images_are_recorded_within_their_run_alone(tmp_path):
    images = planted.images(6)
    run_record.add_images("test", images)
    with flagsaver.flagsaver():
        flags.FLAGS.mark_as_parsed()
        with run_record.recorded(tmp_path, "evaluate", []):
            run_record.add_images("train", images)
    run_record.add_images("test", images)
    content = json.loads((tmp_path / "run.json").read_text())
    assert content["launcher"] == "evaluate"
    assert list(content["data"]) == ["train"]
    assert content["data"]["train"]["images"] == 6


def test_a_warning_of_pixels_is_one_line_and_others_tell_their_place():
    ours = job._warning("said", tfbackdoor.network.RangeWarning, "file.py", 3)
    assert ours == "Warning: said\n"
    other = job._warning("said", UserWarning, "file.py", 3)
    assert other.startswith("file.py:3: UserWarning: said")
