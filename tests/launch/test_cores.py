import os
import subprocess
import sys

import commands
import pytest

from launch.running import cores

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity"), reason="no core affinity here"
)


def test_parts_share_the_cores_out_without_overlap():
    usable = os.sched_getaffinity(0)
    parts = cores.split(len(usable))
    assert sorted(core for part in parts for core in part) == sorted(usable)
    assert cores.split(len(usable) + 1) == [None] * (len(usable) + 1)


def test_a_process_starts_on_its_part_and_ours_stays(tmp_path):
    usable = os.sched_getaffinity(0)
    part = {max(usable)}
    note = tmp_path / "cores"
    program = (
        "import os; cores = os.sched_getaffinity(0); "
        f"open({str(note)!r}, 'w').write(str(cores))"
    )
    assert cores.start([sys.executable, "-c", program], part).wait() == 0
    assert note.read_text() == str(part)
    assert os.sched_getaffinity(0) == usable


def test_what_a_process_uses_is_its_part():
    program = (
        "import os; from launch.running import cores; "
        "part = cores.split(1)[0]; cores.use({min(part)}); "
        "print(len(os.sched_getaffinity(0)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", program],
        cwd=commands.ROOT,
        capture_output=True,
        text=True,
    )
    assert found.stdout.strip() == "1", found.stderr
