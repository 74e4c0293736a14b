"""A grid of cheap trials that leave a line on disk each time they are done.

    python -m tests.stand_ins ROOT CALLS SECONDS HANGING

runs it as a process of its own that does not get past trial HANGING.
"""

import pathlib
import sys
import time

import tfbackdoor

PLAN = tfbackdoor.benchmark.plan_grid(
    ["badnets", "blend"], ["anp", "nad"], seeds=[0, 1], shares=[0.05]
)
SETTINGS = {"epochs": 3}


def rate(correct, total=1000):
    return {"value": correct / total, "successes": correct, "images": total}


def scores_of(trial):
    """Another accuracy and attack success for every trial, in thousandths."""
    number = PLAN.index(trial)
    return {
        "clean_accuracy": rate(900 - number * number),
        "attack_success": rate(7 * number + 1),
    }


class Work:
    """Attack and defense functions that note their calls in a folder.

    Args:
        calls: folder, gets a file `<number of the trial>` with a line a call.
        seconds: float, how long each takes.
        failing: trials that raise.
        hanging: int, number of a trial that does not end.
    """

    def __init__(self, calls, seconds=0.0, failing=(), hanging=-1):
        self.calls = pathlib.Path(calls)
        self.calls.mkdir(parents=True, exist_ok=True)
        self.seconds = seconds
        self.failing = failing
        self.hanging = hanging

    def attack(self, trial, folder):
        return self._do(trial, folder)

    def defend(self, trial, attacked, folder):
        assert (attacked / "made.txt").read_text() == str(trial.attacked)
        return self._do(trial, folder)

    def _do(self, trial, folder):
        (folder / "made.txt").write_text(str(trial))
        hangs = PLAN.index(trial) == self.hanging
        time.sleep(600 if hangs else self.seconds)
        if trial in self.failing:
            raise ValueError("`trial` must work.\nMore of it.")
        with open(self.calls / str(PLAN.index(trial)), "a") as file:
            file.write("done\n")
        return scores_of(trial)

    def run(self, root, settings=SETTINGS, say=print):
        return tfbackdoor.benchmark.run_grid(
            root,
            PLAN,
            self.attack,
            self.defend,
            settings=settings,
            say=say,
            pause=0.05,
        )

    def counts(self):
        """Number of times that each trial of the plan was done."""
        paths = [self.calls / str(number) for number in range(len(PLAN))]
        return [
            len(path.read_text().splitlines()) if path.exists() else 0
            for path in paths
        ]


if __name__ == "__main__":
    root, calls, seconds, hanging = sys.argv[1:]
    process = Work(calls, float(seconds), hanging=int(hanging))
    sys.exit(bool(process.run(root)))
