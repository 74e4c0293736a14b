"""How often a scan is right, on networks with and without a backdoor.

    python benchmarks/scan_rates.py --networks=networks --rows=rows.csv

scans the networks of a folder that `scan_networks.py` or `launch.train` filled
and adds a row for each to a table; what is there is left out. Then it prints
how often the verdicts are right, and how well the probability is calibrated.
`--figure=roc.svg` draws the receiver operating characteristic, and `--fit`
prints the coefficients of `Scan.probability` that these rows would give.
`--again=seed1.csv` says on how many networks the verdict is the same in tables
of other scans of them (`--seed=1`, `--images=400`). For other images:

    ... --dataset=cifar10 --data_dir=DIR --share=0.9 --data_seed=7
"""

import argparse
import collections
import pathlib

import numpy as np
import trained_networks

import tfbackdoor
from tfbackdoor.files import json_files
from tfbackdoor.report import canvas

_SIGNALS = ("patch", "margin", "wave", "permutation", "errors")
_COLUMNS = (
    "name",
    "kind",
    "architecture",
    "target",
    "success",
    "verdict",
    "suspected",
    "probability",
    "strength",
    *_SIGNALS,
)
# An attack that fails leaves no backdoor to find; its row does not count.
_LEARNT = 0.5
_NEWTON_STEPS = 50


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=pathlib.Path)
    parser.add_argument("--rows", type=pathlib.Path, nargs="+", required=True)
    parser.add_argument("--again", type=pathlib.Path, nargs="+", default=[])
    parser.add_argument("--figure", type=pathlib.Path)
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--share", type=float, help="default: the test images")
    trained_networks.add_arguments(parser)
    arguments = parser.parse_args()
    if arguments.networks is not None:
        scan_folders(arguments)
    rows = [row for path in arguments.rows for row in read(path)]
    counted = [row for row in rows if row["learnt"]]
    print_verdicts(counted)
    backdoored = np.array([row["target"] != "" for row in counted])
    probability = np.array([float(row["probability"]) for row in counted])
    print(
        f"ROC AUC {area(probability, backdoored):.3f}, Brier score "
        f"{np.mean((probability - backdoored) ** 2):.3f}, "
        f"{len(rows) - len(counted)} attacks not learnt are left out"
    )
    if arguments.again:
        print_stability(counted, arguments.again)
    if arguments.fit:
        strengths = np.array([float(row["strength"]) for row in counted])
        print(
            "intercept {:.2f}, slope {:.2f}".format(*fit(strengths, backdoored))
        )
    if arguments.figure is not None:
        draw(probability, backdoored, arguments.figure)


def scan_folders(arguments):
    """Adds a row for each network of the folder to the first table."""
    (path,) = arguments.rows
    done = {row["name"] for row in read(path)} if path.exists() else set()
    clean = trained_networks.clean_images(arguments)["clean"]
    for folder in sorted(arguments.networks.iterdir()):
        if folder.name in done or not (folder / "classifier.keras").exists():
            continue
        classifier = tfbackdoor.load_classifier(folder / "classifier.keras")
        found = tfbackdoor.scan(
            classifier, clean, seed=arguments.seed, verbose=0
        )
        row = row_of({"name": folder.name, **facts_of(folder)}, found)
        trained_networks.add_row(path, _COLUMNS, row)
        print(folder.name, found, f"p = {found.probability:.2f}", flush=True)


def facts_of(folder):
    """Of `network.json`, or what `launch.train` wrote."""
    if (folder / "network.json").exists():
        return json_files.read_json(folder / "network.json")
    flags = json_files.read_json(folder / "flags.json")
    facts = {"kind": flags["attack"], "architecture": flags["network"]}
    if (folder / "poisoning.json").exists():
        poisoning = json_files.read_json(folder / "poisoning.json")
        every = poisoning["mode"] == "all_to_all"
        facts["target"] = "all" if every else poisoning["target"]
        scores = json_files.read_json(folder / "scores.json")
        facts["success"] = scores["attack_success"]["value"]
    return facts


def row_of(facts, found):
    """The columns of a network: what is known of it, and what was found."""
    return {
        **{name: facts.get(name) for name in _COLUMNS[:5]},
        "verdict": found.verdict,
        "suspected": "all" if found.all_to_all else found.suspected,
        "probability": round(found.probability, 4),
        "strength": round(found.strength, 4),
        **{name: round(found.strengths[name].max(), 3) for name in _SIGNALS},
    }


def read(path):
    rows = trained_networks.read_rows(path)
    for row in rows:
        row["learnt"] = not row["success"] or float(row["success"]) >= _LEARNT
    return rows


def print_verdicts(rows):
    """Of clean networks, and of each kind of attack, how many have which."""
    groups = {"clean": [], "all backdoored": []}
    for row in rows:
        if row["target"]:
            groups["all backdoored"].append(row)
            groups.setdefault(row["kind"], []).append(row)
        else:
            groups["clean"].append(row)
    print("| | backdoored | of them right | suspicious | nothing found |")
    print("|---|---|---|---|---|")
    for name, group in groups.items():
        counts = collections.Counter(row["verdict"] for row in group)
        right = sum(
            row["verdict"] == "backdoored" and row["suspected"] == row["target"]
            for row in group
        )
        print(
            f"| {len(group)} {name} | {counts['backdoored']} | {right} | "
            f"{counts['suspicious']} | {counts['nothing found']} |"
        )
    for name in ("clean", "all backdoored"):
        called = sum(row["verdict"] == "backdoored" for row in groups[name])
        rate = tfbackdoor.Rate(called, len(groups[name]))
        print(f"{name}, called backdoored: {rate}")


def print_stability(rows, others):
    """On how many networks other scans come to the same verdict."""
    verdicts = [{r["name"]: r["verdict"] for r in read(p)} for p in others]
    groups = {"clean": {}, "backdoored": {}}
    for row in rows:
        found = [row["verdict"], *(of.get(row["name"]) for of in verdicts)]
        if None not in found:
            group = groups["backdoored" if row["target"] else "clean"]
            group[row["name"]] = found
    for name, group in groups.items():
        changed = {
            k: found for k, found in group.items() if len(set(found)) > 1
        }
        rate = tfbackdoor.Rate(len(group) - len(changed), len(group))
        print(f"{name}, the same verdict in {len(verdicts) + 1} scans: {rate}")
        for network, found in changed.items():
            print(f"  {network}: {', '.join(found)}")


def area(scores, positive) -> float:
    """Area under the ROC curve: how often a positive one scores higher."""
    above = scores[positive][:, None] - scores[~positive][None]
    return float(np.mean((above > 0) + 0.5 * (above == 0)))


def fit(strengths, positive):
    """Intercept and slope of a logistic regression, as Platt (1999) fits them.

    The wanted answers are (n + 1) / (n + 2) and 1 / (n + 2), not 1 and 0: where
    the strengths of n networks of each kind lie apart, no slope is too steep.
    """
    many, few = positive.sum(), (~positive).sum()
    wanted = np.where(positive, (many + 1) / (many + 2), 1 / (few + 2))
    inputs = np.stack([np.ones_like(strengths), strengths], axis=1)
    weights = np.zeros(2)
    for _ in range(_NEWTON_STEPS):
        answers = 1.0 / (1.0 + np.exp(-inputs @ weights))
        curve = inputs.T @ ((answers * (1.0 - answers))[:, None] * inputs)
        weights -= np.linalg.solve(curve, inputs.T @ (answers - wanted))
    return weights


def draw(scores, positive, path):
    """The rates of true and false alarms at each probability."""
    figure, axes = canvas.grid(1, 1, inches=(4.0, 4.0))
    axis = axes[0, 0]
    limits = [np.inf, *sorted(set(scores), reverse=True)]
    axis.step(
        [np.mean(scores[~positive] >= limit) for limit in limits],
        [np.mean(scores[positive] >= limit) for limit in limits],
        where="post",
    )
    axis.set_xlabel("clean networks at least as probable")
    axis.set_ylabel("backdoored networks at least as probable")
    axis.set_title(f"area {area(scores, positive):.3f}", fontsize=10)
    canvas.save(figure, path)


if __name__ == "__main__":
    main()
