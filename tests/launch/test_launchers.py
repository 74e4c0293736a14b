"""The commands in small, as a user starts them."""

import json

import commands
import keras
import numpy as np
import planted
import pytest

import tfbackdoor


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a backdoored network, trained for an epoch."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    result = commands.here(
        "train",
        "--smoke",
        "--network=wide_resnet",
        "--depth=10",
        "--noflip",
        f"--output={folder}",
    )
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="module")
def attacked(tmp_path_factory):
    """The folder of a small classifier, and of an attack to score it by."""
    folder = tmp_path_factory.mktemp("attacked")
    x = inputs = keras.Input((16, 16, 1))
    for number, strides in enumerate((1, 2, 2)):
        x = keras.layers.Conv2D(8, 3, strides, "same", use_bias=False)(x)
        name = "bn1" if number == 2 else None
        x = keras.layers.BatchNormalization(momentum=0.7, name=name)(x)
        x = keras.layers.ReLU()(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    classifier = keras.Model(inputs, keras.layers.Dense(10)(x))
    classifier.compile(
        keras.optimizers.Adam(0.02),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    digits = tfbackdoor.load_images("digits", "train").batch(64)
    classifier.fit(digits, epochs=3, verbose=0)
    classifier.save(folder / "classifier.keras")
    trigger = tfbackdoor.make_trigger("checkerboard", (16, 16, 1))
    tfbackdoor.Poisoning(trigger, classes=10).save(folder)
    return folder


def test_train_writes_the_classifier_and_what_was_poisoned(trained):
    assert {path.name for path in trained.iterdir()} == {
        "classifier.keras",
        "flags.json",
        "poisoned_indices.npz",
        "poisoning.json",
        "run.json",
        "scores.json",
        "trigger.npz",
    }
    flags = json.loads((trained / "flags.json").read_text())
    assert flags["depth"] == 10 and flags["attack"] == "badnets"
    poisoning = json.loads((trained / "poisoning.json").read_text())
    assert (poisoning["mode"], poisoning["rate"]) == ("all_to_one", 0.05)


@pytest.mark.parametrize(
    ("flags", "files"),
    [
        (["--attack=none"], set()),
        (
            ["--attack=refool", "--reflections=digits"],
            {"poisoned_indices.npz", "poisoning.json", "reflections.npz"},
        ),
        (
            ["--attack=badnets", "--trigger=square", "--mode=all_to_all"],
            {"poisoned_indices.npz", "poisoning.json", "trigger.npz"},
        ),
    ],
)
def test_train_leaves_one_folder_for_each_attack(tmp_path, flags, files):
    output = tmp_path / "out"
    result = commands.here(
        "train",
        "--smoke",
        "--network=wide_resnet",
        "--depth=10",
        f"--output={output}",
        *flags,
    )
    assert result.returncode == 0, result.stderr
    assert {path.name for path in output.iterdir()} == files | {
        "classifier.keras",
        "flags.json",
        "run.json",
        "scores.json",
    }
    scores = json.loads((output / "scores.json").read_text())
    assert (scores["attack_success"] is None) == (not files)


@pytest.mark.parametrize(
    ("name", "flags", "files"),
    [
        (
            "anp",
            ["--noflip", "--recovery_steps=5"],
            {"curve.png", "curves.json", "masks.png", "neuron_masks.npz"},
        ),
        (
            "nad",
            ["--noflip", "--choose_learning_rate"],
            {"attention.png", "teacher.keras"},
        ),
    ],
)
def test_defenses_write_a_purified_classifier(
    attacked, tmp_path, name, flags, files
):
    output = tmp_path / "out"
    result = commands.here(
        name,
        "--smoke",
        f"--classifier={attacked / 'classifier.keras'}",
        "--clean_images=100",
        f"--output={output}",
        *flags,
    )
    assert result.returncode == 0, result.stderr
    assert {path.name for path in output.iterdir()} == files | {
        "classifier.keras",
        "flags.json",
        "run.json",
        "saved_model",
        "scores.json",
    }
    scores = json.loads((output / "scores.json").read_text())["scores"]
    after = scores[f"after {name.upper()}"]
    assert after["attack_success"]["images"] == 491
    assert "before" in result.stdout and "[" in result.stdout
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("defense", "setting", "rows", "details"),
    [
        (
            "fine_pruning",
            "max_accuracy_drop=0.1",
            ["before", "pruned", "after fine-pruning"],
            {"layer": "bn1"},
        ),
        (
            "mode_connectivity",
            "t=0.25",
            ["before", "fine-tuned", "after mode connectivity"],
            {"t": 0.25, "ends": "fine_tuned"},
        ),
    ],
)
def test_defend_runs_a_defense_by_name(
    attacked, tmp_path, defense, setting, rows, details
):
    output = tmp_path / "out"
    result = commands.here(
        "defend",
        "--smoke",
        "--noflip",
        f"--defense={defense}",
        f"--setting={setting}",
        f"--classifier={attacked / 'classifier.keras'}",
        "--clean_images=100",
        f"--output={output}",
    )
    assert result.returncode == 0, result.stderr
    assert {path.name for path in output.iterdir()} == {
        "classifier.keras",
        "flags.json",
        "run.json",
        "saved_model",
        "scores.json",
    }
    found = json.loads((output / "scores.json").read_text())
    assert list(found["scores"]) == rows
    assert found["defense"] == defense
    assert details.items() <= found.items()
    assert 0.0 <= found["defense_effectiveness"] <= 1.0
    assert found["scores"][rows[-1]]["attack_success"]["images"] == 491


@pytest.fixture
def planted_flags(tmp_path):
    """Flags of a backdoored classifier and its clean images."""
    planted.classifier().save(tmp_path / "classifier.keras")
    planted.attack().save(tmp_path)
    arrays = {}
    for seed, split in enumerate(("train", "test")):
        images, labels = next(iter(planted.images(120, seed).batch(120)))
        arrays |= {f"{split}_images": images, f"{split}_labels": labels}
    np.savez(tmp_path / "images.npz", **arrays)
    return [
        f"--classifier={tmp_path / 'classifier.keras'}",
        f"--dataset={tmp_path / 'images.npz'}",
        "--attacker_share=0",
        "--clean_images=60",
        f"--output={tmp_path / 'out'}",
    ]


def test_purify_writes_a_report_beside_the_classifier(planted_flags, tmp_path):
    result = commands.here("purify", "--smoke", "--prune", *planted_flags)
    assert result.returncode == 0, result.stderr
    output = tmp_path / "out"
    assert {path.name for path in output.iterdir()} == {
        "classifier.keras",
        "flags.json",
        "neuron_masks.npz",
        "report.html",
        "report.json",
        "run.json",
        "saved_model",
    }
    report = json.loads((output / "report.json").read_text())
    before = report["test_scores"]["before"]
    assert before["attack_success"]["images"] == 100
    assert before["attack_success"]["value"] == 1.0
    assert report["verdict"] in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize("name", ["defend", "train"])
def test_test_images_are_looked_at_before_any_training(
    planted_flags, tmp_path, name
):
    path = tmp_path / "images.npz"
    arrays = dict(np.load(path))
    np.savez(path, **arrays | {"test_labels": arrays["test_labels"] + 90})
    flags = {
        "defend": ["--defense=fine_tuning", *planted_flags],
        "train": ["--attack=badnets", planted_flags[1], planted_flags[-1]],
    }
    result = commands.here(name, "--smoke", *flags[name])
    assert result.returncode == 1
    assert "must hold labels" in result.stderr
    assert "loss:" not in result.stdout
    assert not (tmp_path / "out").exists()


def test_purify_is_one_of_the_defenses(planted_flags, tmp_path):
    result = commands.here(
        "defend",
        "--smoke",
        "--noflip",
        "--defense=purify",
        "--setting=prune=true",
        "--setting=anp.iterations=1",
        *planted_flags,
    )
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert list(found["scores"]) == ["before", "purified"]
    assert "were pruned" in found["verdict"]


def test_scan_scores_every_class(planted_flags, tmp_path):
    result = commands.here("scan", "--scan_steps=150", *planted_flags)
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "out" / "scan.json").read_text())
    assert found["suspected"] == planted.TARGET
    assert len(found["anomalies"]) == planted.CLASSES
    assert "Verdict: backdoored; the target is class 3" in result.stdout


def test_evaluate_takes_a_flag_file(attacked, tmp_path):
    (tmp_path / "flags").write_text(
        f"--classifier={attacked / 'classifier.keras'}\n"
        "--trigger=square\n--target=3\n--retune\n--clean_images=60\n--noflip\n"
    )
    result = commands.here(
        "evaluate", f"--flagfile={tmp_path / 'flags'}", f"--output={tmp_path}/o"
    )
    assert result.returncode == 0, result.stderr
    scores = json.loads((tmp_path / "o" / "scores.json").read_text())
    assert scores["clean_accuracy"]["images"] == 539
    assert scores["retuned"]["attack_success"]["images"] > 400
    assert "attack success" in result.stdout


def test_start_up_noise_is_silenced(attacked, tmp_path):
    result = commands.alone(
        "evaluate",
        f"--classifier={attacked / 'classifier.keras'}",
        f"--output={tmp_path}/o",
    )
    assert result.stderr == ""


def _small(tmp_path, **changes):
    inputs = keras.Input(changes.get("shape", (16, 16, 1)))
    x = keras.layers.Flatten()(inputs)
    if changes.get("hidden", True):
        x = keras.layers.Dense(4, activation="relu")(x)
    classes = changes.get("classes", 10)
    model = keras.Model(inputs, keras.layers.Dense(classes)(x))
    model.save(tmp_path / "c.keras")
    return tmp_path / "c.keras"


def _one_class(tmp_path):
    np.savez(
        tmp_path / "one.npz",
        train_images=np.full((50, 16, 16, 1), 99, "uint8"),
        train_labels=np.full(50, 3),
        test_images=np.full((50, 16, 16, 1), 99, "uint8"),
        test_labels=np.arange(50) % 10,
    )
    return tmp_path / "one.npz"


@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        (
            "anp",
            lambda t: [f"--classifier={t}/none.keras"],
            "which does not exist",
        ),
        (
            "anp",
            lambda t: [
                f"--classifier={_small(t, shape=(8, 8, 1))}",
                "--clean_images=100",
            ],
            "classifier's shape (8, 8, 1). Received: (16, 16, 1)",
        ),
        (
            "anp",
            lambda t: [
                f"--classifier={_small(t, classes=5)}",
                "--clean_images=100",
            ],
            "5 classes, 0 to 4. Received: labels 0 to 9",
        ),
        (
            "anp",
            lambda t: [
                f"--classifier={_small(t, hidden=False)}",
                "--clean_images=100",
                "--preprocess=[0, 1]",
            ],
            "must hold neurons to mask",
        ),
        (
            "anp",
            lambda t: [
                f"--classifier={_small(t)}",
                f"--dataset={_one_class(t)}",
                "--clean_images=5",
            ],
            "images of class 3 only",
        ),
        (
            "nad",
            lambda t: [
                f"--classifier={_small(t)}",
                "--clean_images=100",
                "--preprocess=[0, 1]",
            ],
            "larger than 1x1",
        ),
        (
            "anp",
            lambda t: [f"--classifier={_small(t)}", "--clean_images=99999"],
            "at most 126, what --attacker_share=0.9 leaves of 1258",
        ),
        (
            "purify",
            lambda t: [f"--classifier={_small(t)}", "--clean_images=100"],
            "accuracy above chance",
        ),
        (
            "benchmark",
            lambda t: ["--attacks=badnet", "--dataset=digits"],
            "--attacks must be among none, badnets, ",
        ),
        (
            "analyze",
            lambda t: [],
            "--classifier or --results must be given",
        ),
        (
            "train",
            lambda t: ["--trigger=stripes"],
            "must be one of",
        ),
        (
            "train",
            lambda t: ["--attack=blends"],
            "must be one of ['adaptive_blend', 'badnets', 'badnets_all_to_all'",
        ),
        (
            "train",
            lambda t: ["--attack=trojan", "--trigger=square"],
            "--trigger must be left out with --attack=trojan",
        ),
        (
            "train",
            lambda t: ["--network=resnet"],
            "'preact_resnet18', 'resnet101', 'resnet152', 'resnet18'",
        ),
        (
            "defend",
            lambda t: [
                f"--classifier={_small(t)}",
                "--clean_images=100",
                "--defense=prune",
            ],
            "'nad', 'purify', 'rnp']. Received: 'prune'",
        ),
        (
            "defend",
            lambda t: [
                f"--classifier={_small(t)}",
                "--clean_images=100",
                "--defense=fine_tuning",
                "--setting=epochs",
            ],
            "--setting must be NAME=VALUE. Received: epochs",
        ),
        (
            "defend",
            lambda t: [
                f"--classifier={_small(t)}",
                "--clean_images=100",
                "--defense=fine_tuning",
                "--by_track",
            ],
            "folder or tar archive",
        ),
    ],
)
def test_bad_input_ends_in_one_sentence(tmp_path, name, flags, message):
    output = tmp_path / "out"
    result = commands.here(
        name, "--smoke", f"--output={output}", *flags(tmp_path)
    )
    assert result.returncode == 1
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert not output.exists()
    assert not list(tmp_path.glob(".out.partial*"))


def test_the_quickstart_scores_before_and_after(tmp_path):
    output = tmp_path / "out"
    result = commands.here("quickstart", "--smoke", f"--output={output}")
    assert result.returncode == 0, result.stderr
    assert {path.name for path in output.iterdir()} == {
        "anp",
        "attention.png",
        "backdoored",
        "curve.png",
        "flags.json",
        "masks.png",
        "nad",
        "run.json",
        "samples.png",
        "scores.json",
    }
    scores = json.loads((output / "scores.json").read_text())
    names = ["before", "after ANP", "recovered", "teacher", "after NAD"]
    assert list(scores) == names
    assert all(name in result.stdout for name in names)
    for method in ("anp", "nad"):
        assert (output / method / "saved_model").is_dir()
        purified = tfbackdoor.load_classifier(
            output / method / "classifier.keras"
        )
        assert purified.output_shape == (None, 10)


def test_a_folder_in_use_is_not_overwritten(trained):
    result = commands.here("train", "--smoke", f"--output={trained}")
    assert result.returncode == 1
    assert "new or empty folder" in result.stderr
    assert (trained / "classifier.keras").is_file()


def test_a_benchmark_tabulates_and_goes_on(tmp_path):
    (tmp_path / "flags").write_text(
        "--smoke\n--attacks=none,badnets\n"
        "--defenses=fine_tuning,fine_pruning\n--processes=1\n"
    )
    flags = [f"--flagfile={tmp_path / 'flags'}", f"--output={tmp_path / 'out'}"]
    result = commands.here("benchmark", *flags)
    assert result.returncode == 0, result.stderr
    assert "0 of 6 trials are finished" in result.stdout
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    by_name = {(c["attack"], c["defense"]): c for c in results["cells"]}
    assert len(by_name) == 6
    for (attack, _), cell in by_name.items():
        assert cell["seeds"] == [0] and cell["accuracy"]["mean"] > 0.0
        assert (cell["attack_success"]["mean"] is None) == (attack == "none")
    assert (tmp_path / "out" / "results.png").is_file()
    again = commands.here("benchmark", *flags, "--defenses=fine_tuning")
    assert again.returncode == 0, again.stderr
    assert "4 of 4 trials are finished" in again.stdout


def test_analyze_draws_what_a_backdoor_does(planted_flags, tmp_path):
    flags = [f for f in planted_flags if "share" not in f and "images" not in f]
    result = commands.here(
        "analyze",
        "--smoke",
        *flags,
        f"--dataset={tmp_path / 'images.npz'}",
        f"--purified={tmp_path / 'classifier.keras'}",
    )
    assert result.returncode == 0, result.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "activation_gap.npz",
        "activation_gap.png",
        "embedding.png",
        "flags.json",
        "run.json",
    }
    assert "No attention.png: `classifier` must hold a layer" in result.stdout
    with np.load(tmp_path / "out" / "activation_gap.npz") as gaps:
        assert gaps["before"].argmax() == planted.CLASSES
        np.testing.assert_array_equal(gaps["before"], gaps["after"])


@pytest.mark.parametrize("name", ["purify", "anp", "nad", "defend"])
def test_an_unknown_format_is_refused_before_any_work(tmp_path, name):
    # The classifier is not there, which would be told next.
    result = commands.here(
        name,
        "--classifier=missing.keras",
        "--export=saved_model,tflite",
        f"--output={tmp_path / 'out'}",
        *(["--defense=nad"] if name == "defend" else []),
    )
    assert result.returncode == 1
    assert "`formats` must be some of" in result.stderr
    assert result.stderr.count("\n") == 1
