"""Defends classifiers that `launch.train` left, and adds a row for each.

    python benchmarks/defend_networks.py --networks A/badnets A/sig \\
        --defenses purify nad --dataset=cifar10 --data_dir=DIR --data_seed=7 \\
        --rows=rows.csv

The clean images are of the share that the attacker did not have: `--data_seed`
must be the `--seed` of the training, `--by_track` and `--noflip` as there. Test
images only score. What the table has is left out, so that a run that was killed
goes on. Without `--networks` it prints the table: a row for each network, a
column for each defense. With `--retune=CLEAN` it also tells what the retuning
attack brings back, of the defended network and of the clean one in that folder.
`--defenses no_hardening no_unlearning pruned` is `purify` without one of its
steps, and with ANP's pruning before them; `anp+ft_sam` is one after the other,
with the seconds of the last.
"""

import argparse
import json
import pathlib
import statistics
import time
import warnings

import keras
import trained_networks

import tfbackdoor

_COLUMNS = (
    "network",
    "defense",
    "images",
    "seed",
    "accuracy_before",
    "success_before",
    "accuracy",
    "success",
    "seconds",
    "retuned",
    "clean_retuned",
    "chosen",
)
_VARIANTS = {
    "no_hardening": {"hardening_steps": 0},
    "no_unlearning": {"recovery_steps": 0},
    "pruned": {"prune": True},
}
# 2 % of CIFAR-10, as in the paper of the retuning attack.
_RETUNING_IMAGES = 1000


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=pathlib.Path, nargs="*", default=[])
    parser.add_argument("--defenses", nargs="+", default=["purify"])
    parser.add_argument("--rows", type=pathlib.Path, required=True)
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--share", type=float, default=0.9)
    parser.add_argument("--retune", type=pathlib.Path)
    parser.add_argument("--noflip", dest="flip", action="store_false")
    trained_networks.add_arguments(parser)
    arguments = parser.parse_args()
    for folder in arguments.networks:
        add_rows(folder, arguments)
    rows = read(arguments.rows)
    if rows:
        print_table(rows, arguments)


def add_rows(folder, arguments):
    """Adds the rows of one network that the table lacks."""
    done = {key(row) for row in read(arguments.rows)}
    wanted = [
        defense
        for defense in arguments.defenses
        if (folder.name, defense, str(arguments.images), str(arguments.seed))
        not in done
    ]
    if not wanted:
        return
    keras.utils.clear_session()
    classifier = tfbackdoor.load_classifier(folder / "classifier.keras")
    poisoning = None
    if (folder / "poisoning.json").exists():
        poisoning = tfbackdoor.Poisoning.load(folder)
    clean = trained_networks.clean_images(arguments)
    test = tfbackdoor.load_images(
        arguments.dataset, "test", data_dir=arguments.data_dir
    )
    before = percentages(classifier, test, poisoning)
    clean_again = ""
    if arguments.retune is not None:
        network = tfbackdoor.load_classifier(
            arguments.retune / "classifier.keras"
        )
        clean_again = after_retuning(network, test, poisoning, arguments)
    left = {"": classifier}
    for defense in wanted:
        earlier, _, last = defense.rpartition("+")
        if earlier not in left:
            outcome = defended(earlier, classifier, clean, arguments)
            left[earlier] = outcome.classifier
        start = time.monotonic()
        outcome = defended(last, left[earlier], clean, arguments)
        left[defense] = outcome.classifier
        seconds = time.monotonic() - start
        after = percentages(outcome.classifier, test, poisoning)
        again = after_retuning(outcome.classifier, test, poisoning, arguments)
        values = (
            folder.name,
            defense,
            arguments.images,
            arguments.seed,
            *before,
            *after,
            round(seconds),
            again,
            clean_again,
            json.dumps(outcome.to_json()),
        )
        trained_networks.add_row(
            arguments.rows, _COLUMNS, dict(zip(_COLUMNS, values, strict=True))
        )
        print(
            folder.name,
            defense,
            *before,
            "->",
            *after,
            again,
            clean_again,
            flush=True,
        )


def defended(defense, classifier, clean, arguments):
    """What a defense, or a variant of `purify`, makes of a classifier."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tfbackdoor.defend(
            "purify" if defense in _VARIANTS else defense,
            classifier,
            **clean,
            seed=arguments.seed,
            flip=arguments.flip,
            verbose=0,
            **_VARIANTS.get(defense, {}),
        )


def percentages(classifier, test, poisoning):
    """Clean accuracy and attack success, "" without an attack."""
    scores = tfbackdoor.evaluate(classifier, test, poisoning)
    success = scores.attack_success
    return (
        round(100 * scores.clean_accuracy.value, 1),
        "" if success is None else round(100 * success.value, 1),
    )


def after_retuning(classifier, test, poisoning, arguments):
    """Attack success after the retuning attack, "" where none is asked for."""
    if arguments.retune is None or poisoning is None:
        return ""
    retuned = tfbackdoor.attacks.retune(
        classifier,
        trained_networks.clean_images(arguments, _RETUNING_IMAGES)["clean"],
        poisoning,
        seed=arguments.seed,
        flip=arguments.flip,
        verbose=0,
    )
    return percentages(retuned, test, poisoning)[1]


def read(path):
    return trained_networks.read_rows(path) if path.exists() else []


def key(row):
    return tuple(row[name] for name in _COLUMNS[:4])


def print_table(rows, arguments):
    """Accuracy / attack success in percent as Markdown, and the means."""
    chosen = [
        row
        for row in rows
        if int(row["images"]) == arguments.images
        and int(row["seed"]) == arguments.seed
    ]
    defenses = list(dict.fromkeys(row["defense"] for row in chosen))
    networks = list(dict.fromkeys(row["network"] for row in chosen))
    print(f"| network | before | {' | '.join(defenses)} |")
    print("|---" * (len(defenses) + 2) + "|")
    for network in networks:
        of_network = {
            r["defense"]: r for r in chosen if r["network"] == network
        }
        first = next(iter(of_network.values()))
        cells = [
            cell(of_network[name], "") if name in of_network else ""
            for name in defenses
        ]
        print(f"| {network} | {cell(first, '_before')} | {' | '.join(cells)} |")
    print_means(chosen, defenses)


def print_means(rows, defenses):
    """What each defense leaves and costs, of networks with a backdoor."""
    for name in defenses:
        backdoored = [
            r for r in rows if r["defense"] == name and r["success"] != ""
        ]
        lost = [
            float(r["accuracy_before"]) - float(r["accuracy"])
            for r in backdoored
        ]
        left = [float(r["success"]) for r in backdoored]
        seconds = [float(r["seconds"]) for r in backdoored]
        if left:
            print(
                f"{name}: {len(left)} networks, attack success "
                f"{sum(left) / len(left):.1f} % on average, {max(left):.1f} at "
                f"most; {sum(lost) / len(lost):.1f} points lost on average; "
                f"{statistics.median(seconds):.0f} seconds (median)"
            )


def cell(row, ending):
    numbers = [row["accuracy" + ending], row["success" + ending]]
    return " / ".join(number for number in numbers if number)


if __name__ == "__main__":
    main()
