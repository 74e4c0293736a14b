"""Claims between processes."""

import subprocess
import sys

from tfbackdoor.files import claims


def test_a_claim_excludes_others_until_it_ends(tmp_path):
    path = tmp_path / "claim"
    with claims.claim(path) as first, claims.claim(path) as second:
        assert first and not second
    with claims.claim(path) as third:
        assert third


def test_a_killed_process_holds_no_claim(tmp_path):
    path = tmp_path / "claim"
    # Alone, since importing the whole package takes seconds.
    code = (
        "import runpy, sys, time\n"
        "claim = runpy.run_path(sys.argv[1])['claim']\n"
        "with claim(sys.argv[2]) as held:\n"
        "    print(held, flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, claims.__file__, str(path)],
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout.readline() == "True\n"
        with claims.claim(path) as held:
            assert not held
        holder.kill()
    with claims.claim(path) as held:
        assert held
