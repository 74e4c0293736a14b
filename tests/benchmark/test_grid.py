"""The grid: resumed, shared, with failing and corrupt trials."""

import csv
import json
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest
import stand_ins

import tfbackdoor
from tfbackdoor.benchmark import cells as cells_module
from tfbackdoor.benchmark import progress
from tfbackdoor.benchmark import results
from tfbackdoor.benchmark import trials

_PLAN = stand_ins.PLAN
_BADNETS, _BLEND = _PLAN[0], _PLAN[3]
_ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def work(tmp_path):
    return stand_ins.Work(tmp_path / "calls")


def _start(tmp_path, seconds=0.0, hanging=-1):
    arguments = [tmp_path / "grid", tmp_path / "calls", seconds, hanging]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.stand_ins", *map(str, arguments)],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _cells(root):
    cells = json.loads((root / "results.json").read_text())["cells"]
    return {(c["attack"], c["defense"], c["clean_share"]): c for c in cells}


def test_a_plan_attacks_once_and_defends_with_every_share():
    plan = tfbackdoor.benchmark.plan_grid(
        ["badnets"], ["anp", "nad"], seeds=[0, 1], shares=[0.01, 0.05]
    )
    assert [str(trial) for trial in plan[:5]] == [
        "badnets, seed 0",
        "badnets, seed 0, anp on 1 % clean images",
        "badnets, seed 0, nad on 1 % clean images",
        "badnets, seed 0, anp on 5 % clean images",
        "badnets, seed 0, nad on 5 % clean images",
    ]
    assert len(plan) == len(set(plan)) == 2 * (1 + 2 * 2)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"attacks": []}, "`attacks` must not be empty"),
        ({"seeds": [1, 1]}, "`seeds` must not repeat"),
        ({"shares": [0.05, 1.0]}, r"`shares` must lie in \(0, 1\)"),
    ],
)
def test_a_plan_of_nonsense_is_refused(changed, message):
    lists = {"attacks": ["a"], "defenses": [], "seeds": [0], "shares": [0.5]}
    lists |= changed
    with pytest.raises(ValueError, match=message):
        tfbackdoor.benchmark.plan_grid(
            lists["attacks"],
            lists["defenses"],
            seeds=lists["seeds"],
            shares=lists["shares"],
        )


def test_what_is_finished_is_not_done_again(tmp_path, work):
    assert work.run(tmp_path / "grid") == {}
    assert work.run(tmp_path / "grid") == {}
    assert work.counts() == [1] * len(_PLAN)


def test_a_killed_run_goes_on_where_it_was(tmp_path, work):
    root = tmp_path / "grid"
    process = _start(tmp_path, hanging=4)
    begun = _PLAN[4].folder(root)
    begun = begun.with_name(f".{begun.name}.partial") / "made.txt"
    while not begun.exists() and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    process.communicate()
    assert work.counts() == [1] * 4 + [0] * (len(_PLAN) - 4)
    assert begun.exists()
    said = []
    assert work.run(root, say=said.append) == {}
    assert work.counts() == [1] * len(_PLAN)
    assert said[0].startswith(f"4 of {len(_PLAN)} trials are finished")
    assert not begun.parent.exists()


def test_two_processes_share_the_work(tmp_path):
    other = _start(tmp_path, 0.3)
    begun = tmp_path / "calls" / "0"
    while not begun.exists() and other.poll() is None:
        time.sleep(0.02)
    work, said = stand_ins.Work(tmp_path / "calls", 0.3), []
    assert work.run(tmp_path / "grid", say=said.append) == {}
    out, error = other.communicate(timeout=120)
    assert other.returncode == 0, error
    assert work.counts() == [1] * len(_PLAN)
    lines = [line for line in [*said, *out.splitlines()] if line[0] == "["]
    assert len(lines) == len(_PLAN)
    assert len(said) > 1
    assert all(
        not cell["missing"] for cell in _cells(tmp_path / "grid").values()
    )


def test_a_corrupt_attack_is_named_and_nothing_is_built_on_it(tmp_path, work):
    root = tmp_path / "grid"
    work.run(root)
    folder = _BADNETS.folder(root)
    (folder / "made.txt").write_text("cut sho")
    finished = _PLAN[1].folder(root)
    (finished / "trial.json").rename(tmp_path / "aside")
    missing = _PLAN[2].folder(root)
    for path in missing.iterdir():
        path.unlink()
    missing.rmdir()
    said = []
    unfinished = work.run(root, say=said.append)
    assert list(unfinished) == _PLAN[:3]
    assert {record.state for record in unfinished.values()} == {"corrupt"}
    assert work.counts() == [1] * len(_PLAN)
    assert any(str(folder) in line and "made.txt" in line for line in said)
    # Seed 1 is left, so its numbers stand beside the word.
    cell = _cells(root)["badnets", None, None]
    assert cell["seeds"] == [1]
    assert cell["problems"]["0"]["state"] == "corrupt"
    text = (root / "results.md").read_text()
    assert "86.4 / 4.3 (corrupt: seed 0)" in text
    assert f"- badnets, seed 0: corrupt. {folder} is corrupt" in text
    assert not missing.exists()


def test_a_failing_cell_is_noted_and_the_rest_goes_on(tmp_path, work):
    root = tmp_path / "grid"
    work.failing = [_PLAN[1], _BLEND]
    unfinished = work.run(root)
    # What defends against the attack that failed cannot be done either.
    assert list(unfinished) == [_PLAN[1], *_PLAN[3:6]]
    assert {record.error for record in unfinished.values()} == {
        "`trial` must work."
    }
    assert sum(work.counts()) == len(_PLAN) - 4
    assert "failed: seed 0" in (root / "results.md").read_text()
    work.failing = []
    assert work.run(root) == {}
    assert work.counts() == [1] * len(_PLAN)
    assert "failed" not in (root / "results.md").read_text()


def test_other_settings_are_refused_in_one_sentence(tmp_path, work):
    root = tmp_path / "grid"
    work.run(root)
    with pytest.raises(
        ValueError, match="Received: epochs=3 there, 4 here$"
    ) as caught:
        work.run(root, settings={"epochs": 4})
    assert len(str(caught.value).splitlines()) == 1
    (root / "settings.json").write_text('{"epochs')
    with pytest.raises(ValueError, match="settings.json, which is corrupt"):
        work.run(root)


def test_the_table_holds_mean_and_deviation_over_seeds(tmp_path, work):
    root = tmp_path / "grid"
    work.run(root)
    cells = _cells(root)
    assert len(cells) == 2 * 3
    with open(root / "results.csv") as file:
        rows = {(r["attack"], r["defense"]): r for r in csv.DictReader(file)}
    for (attack, defense, share), cell in cells.items():
        of_cell = [
            trial
            for trial in _PLAN
            if (trial.attack, trial.defense) == (attack, defense)
        ]
        assert share == (defense and 0.05)
        for rate, field in (
            ("accuracy", "clean_accuracy"),
            ("attack_success", "attack_success"),
        ):
            values = [
                stand_ins.scores_of(trial)[field]["value"] for trial in of_cell
            ]
            expected = np.mean(values), np.std(values, ddof=1)
            assert cell[rate]["mean"] == pytest.approx(expected[0])
            assert cell[rate]["std"] == pytest.approx(expected[1])
            row = rows[attack, defense or ""]
            assert float(row[f"{rate}_mean"]) == pytest.approx(
                expected[0], abs=1e-6
            )
            assert float(row[f"{rate}_std"]) == pytest.approx(
                expected[1], abs=1e-6
            )
    content = json.loads((root / "results.json").read_text())
    assert content["settings"] == stand_ins.SETTINGS
    assert content["versions"]["keras"] and len(content["trials"]) == 12


def test_the_mean_over_attacks_takes_complete_rows_only():
    record = trials.TrialRecord
    records = {}
    for attack, success in (("none", 0.1), ("a", 0.9), ("b", 0.8), ("c", 0.1)):
        for defense in (None, "nad"):
            share = 0.05 if defense else None
            trial = trials.Trial(attack, 0, defense, share)
            value = {"clean_accuracy": {"value": 0.5}}
            value["attack_success"] = {"value": success / (1 + bool(defense))}
            records[trial] = record("finished", content={"scores": value})
    records[trial] = record("missing")
    lines = results._share_table(cells_module.make_cells(records))
    # (90 + 80) / 2 and half of it: c is incomplete and none is no attack.
    assert lines[-1] == "| mean of 2 attacks | 50.0 / 85.0 | 50.0 / 42.5 |"
    assert "| c | 50.0 / 10.0 | to be done |" in lines


def test_time_left_is_the_mean_of_finished_trials_of_the_kind(tmp_path):
    root = tmp_path / "grid"
    work = stand_ins.Work(tmp_path / "calls")
    said = []
    work.run(root, say=said.append)
    assert said[1].startswith(f"[1/{len(_PLAN)}] badnets, seed 0: accuracy")
    assert said[-1].endswith("; 0 s left")
    seconds = {_PLAN[0]: 10.0, _PLAN[1]: 4.0, _PLAN[2]: 8.0}
    # Blend is an attack like BadNets; ANP's own mean; all defenses' for FT.
    assert progress.estimate(_BLEND, seconds) == 10.0
    assert progress.estimate(_PLAN[4], seconds) == 4.0
    other = trials.Trial("blend", 0, "fine_tuning", 0.05)
    assert progress.estimate(other, seconds) == 6.0
