import base64
import dataclasses
import html.parser
import io
import json
import re

import keras
import matplotlib.image
import numpy as np
import pytest

import tfbackdoor
from tfbackdoor.report import canvas
from tfbackdoor.report import evidence
from tfbackdoor.report import figures
from tfbackdoor.report import page
from tfbackdoor.report import pictures
from tfbackdoor.report import report as report_module

HOSTILE = '"><script>alert(1)</script><img src=https://evil.example/x.png>'
_VOID = {"meta", "link", "img", "wbr"}


@pytest.fixture
def draws():
    """Lets a test draw figures, which takes most of the time of a page."""


@pytest.fixture(autouse=True)
def undrawn(request, monkeypatch):
    if "draws" not in request.fixturenames:
        monkeypatch.setattr(canvas, "to_svg", lambda figure: "<svg/>")


class _Page(html.parser.HTMLParser):
    """The tags, the attributes, the body's texts and the table rows."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.texts, self.rows = [], [], [], []
        self._open = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in _VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if "body" in self._open and data.strip():
            self.texts.append(" ".join(data.split()))
            if "tr" in self._open:
                self.rows[-1] = f"{self.rows[-1]} {self.texts[-1]}".strip()

    @property
    def text(self):
        return " ".join(self.texts)


def _scores(correct, attacked=None, total=100):
    rate = tfbackdoor.Rate(correct, total)
    if attacked is None:
        return tfbackdoor.Scores(rate)
    attack = tfbackdoor.Rate(attacked, total)
    return tfbackdoor.Scores(rate, rate, attack, rate)


def _scores_of(right, labels):
    correct, labels = np.array(right, bool), np.array(labels)
    accuracy = tfbackdoor.Rate(int(correct.sum()), len(correct))
    return tfbackdoor.Scores(accuracy, correct=correct, labels=labels)


def _scan(anomalies, error_shares):
    count = len(anomalies)
    triggers = tfbackdoor.defenses.InvertedTriggers(
        np.arange(count),
        np.full((count, 8, 8, 1), 0.5),
        np.ones((count, 8, 8, 3)),
        np.ones(count),
    )
    return tfbackdoor.Scan(
        np.array(anomalies),
        triggers,
        np.array(error_shares),
        0.2,
        margins=np.arange(count) + 10.0,
        wave_answers=np.arange(count) / 100.0,
    )


def _found(name="before"):
    return evidence.FoundTrigger(
        1,
        np.ones((8, 8, 1)),
        np.ones((8, 8, 3)),
        np.ones((2, 8, 8, 3)),
        [0, 0],
        {name: [1, 1], "purified": [0, 1]},
    )


def _curve():
    return [
        tfbackdoor.defenses.CurvePoint(threshold, pruned, _scores(correct))
        for threshold, pruned, correct in [(-1.0, 0, 95), (0.6, 2, 90)]
    ]


def _report(**changed):
    arguments = {
        "verdict": "Two of 13 neurons were pruned.",
        "warnings": [],
        "scores": {
            "before": _scores(95),
            "pruned": _scores(88),
            "purified": _scores(94),
        },
        "scored_on": "100 clean images held out from the optimisation",
        "test_scores": {},
        "curve": _curve(),
        "chosen": _curve()[1],
        "chosen_because": "The highest threshold within the budget.",
        "oracle": False,
        "neuron_masks": {
            "first": np.array([0.25, 0.5, 0.9, 1.0], "float32"),
            "second": np.full(9, 0.95, "float32"),
        },
        "pruned": {"first": np.array([0, 1])},
        "unlearned": [1],
        "skipped": {"rescaling": "no weights"},
        "samples": np.linspace(0, 1, 2 * 8 * 8 * 3).reshape(2, 8, 8, 3),
        "sample_labels": [0, 1],
        "predictions": {"before": [0, 0], "purified": [0, 1]},
        "class_names": ["cat", "dog"],
        "attention": {
            "before": {"tap": np.eye(4)},
            "purified": {"tap": np.ones((4, 4))},
        },
        "settings": {"epsilon": 0.4, "taps": ["tap"]},
        "versions": report_module.versions(),
        "seed": 7,
        "seconds": 3725.2,
        "peak_memory": 3 * 2**29,
    }
    return tfbackdoor.Report(**arguments | changed)


def _page(report):
    return _Page(page.render(report))


def _saved(report, folder):
    def refuse(constant):
        raise AssertionError(constant)

    report.save(folder)
    text = (folder / "report.json").read_text()
    return json.loads(text, parse_constant=refuse)


def test_json_holds_every_field_and_its_numbers(tmp_path):
    content = _saved(_report(), tmp_path / "new")
    names = {field.name for field in dataclasses.fields(tfbackdoor.Report)}
    assert names <= content.keys()
    assert content["neuron_masks"]["first"] == [0.25, 0.5, 0.9, 1.0]
    assert content["pruned"] == {"first": [0, 1]}
    assert content["scores"]["pruned"]["clean_accuracy"]["successes"] == 88
    assert content["attention"]["before"]["tap"] == np.eye(4).tolist()
    assert content["settings"] == {"epsilon": 0.4, "taps": ["tap"]}
    assert content["chosen"]["threshold"] == 0.6
    assert content["trigger_known"] is False
    assert content["suspicious_neurons"][1] == {
        "layer": "first",
        "neuron": 1,
        "mask": 0.5,
        "pruned": True,
    }


def test_numbers_that_are_none_become_null_and_unknown(tmp_path):
    report = _report(
        scores={"before": _scores(0, 0, total=0)},
        neuron_masks={"first": np.array([np.nan, 0.5, np.inf])},
        pruned={},
        attention={"before": {"tap": np.full((2, 2), np.nan)}},
        settings={"rate": float("nan"), "path": np.float32(np.inf)},
        seconds=float("nan"),
        peak_memory=0,
    )
    content = _saved(report, tmp_path)
    assert content["scores"]["before"]["clean_accuracy"]["value"] is None
    assert content["neuron_masks"]["first"] == [None, 0.5, None]
    assert content["settings"] == {"rate": None, "path": None}
    shown = _page(report)
    assert "before unknown unknown" in shown.rows
    assert "time unknown" in shown.rows
    assert "peak memory unknown" in shown.rows
    assert "nan" not in shown.text.lower().split()


def test_the_verdict_is_the_first_text_of_the_body():
    assert _page(_report()).texts[0] == "Two of 13 neurons were pruned."


def test_tables_hold_rates_with_intervals_counts_and_units():
    shown = _page(
        _report(
            scores={"before": _scores(95, 100), "purified": _scores(94, 2)},
            test_scores={
                "before": _scores(9000, 10000, total=10000),
                "purified": _scores(8000, 300, total=10000),
            },
        )
    )
    # The Wilson interval of 95 of 100.
    before = next(row for row in shown.rows if row.startswith("before"))
    assert before.count("95.0 % 88.8\u201397.8 % n = 100") == 2
    assert before.count("100.0 % 96.3\u2013100.0 % n = 100") == 1
    tests = [row for row in shown.rows if row.startswith("purified")][1]
    assert "80.0 %" in tests and "3.0 %" in tests and "n = 10,000" in tests
    assert "90.0 % → 80.0 %" in shown.text
    assert "100.0 % → 3.0 %" in shown.text
    assert "unknown" not in shown.text


def test_an_unknown_trigger_is_called_unknown():
    report = _report()
    shown = _page(report)
    assert "Attack success is unknown, before and after:" in shown.texts
    before = next(row for row in shown.rows if row.startswith("before"))
    assert before == "before 95.0 % 88.8\u201397.8 % n = 100 unknown"
    content = report.to_json()
    assert content["scores"]["purified"]["attack_success"] is None


def test_an_oracle_is_named_wherever_its_choice_is():
    report = _report(oracle=True)
    shown = _page(report)
    assert "Oracle's choice: threshold 0.60" in shown.text
    assert "Oracle: The highest threshold within the budget." in shown.text
    assert "oracle's choice: 0.60" in shown.texts
    chosen = next(row for row in shown.rows if "0.60" in row)
    assert chosen.startswith("oracle's choice 0.60 2 ")
    for name in ("pruned", "purified"):
        assert any(row.startswith(f"{name} oracle") for row in shown.rows)
    content = report.to_json()
    assert content["oracle"] is True and content["chosen"]["oracle"] is True
    assert content["chosen_because"].startswith("Oracle: ")
    assert "oracle" not in _page(_report()).text.lower()


@pytest.mark.parametrize(
    ("changed", "tone", "words"),
    [
        (
            {"chosen": None, "unlearned": []},
            "bad",
            "No safe threshold: nothing was pruned.",
        ),
        ({"chosen": None}, "unknown", "No warnings; attack success unknown."),
        (
            {"chosen": None, "curve": [], "unlearned": []},
            "unknown",
            "Nothing was changed.",
        ),
        (
            {"chosen": None, "curve": [], "unlearned": [], "hardening": "So."},
            "unknown",
            "No warnings; attack success unknown.",
        ),
        ({"oracle": True}, "caution", "Oracle: attack success had a say"),
        ({"warnings": ["Masks hardly moved."]}, "caution", "1 warning below."),
        ({}, "unknown", "No warnings; attack success unknown."),
        (
            {"chosen": _curve()[0], "unlearned": []},
            "unknown",
            "Nothing was pruned.",
        ),
        (
            {"scores": {"purified": _scores(90, 4)}},
            "good",
            "attack success now 4.0 %.",
        ),
        (
            {"scores": {"purified": _scores(90, 40)}},
            "bad",
            "The trigger still works on 40.0 % of images.",
        ),
    ],
)
def test_the_banner_says_in_words_what_its_colour_says(changed, tone, words):
    shown = _page(_report(**changed))
    assert ("class", f"verdict {tone}") in shown.attributes
    assert words in shown.texts[1]
    assert all(text in shown.texts for text in changed.get("warnings", []))


def _named(name):
    """A report with this name for everything that has one."""
    return _report(
        verdict=name,
        warnings=[name],
        scores={"before": _scores(95), name: _scores(94)},
        scored_on=name,
        chosen_because=name,
        neuron_masks={name: np.array([0.1, 1.0])},
        pruned={name: np.array([0])},
        skipped={name: name},
        predictions={name: [0, 1]},
        class_names=[name, "\udcff{{ 7 * 7 }}"],
        attention={name: {name: np.eye(4)}},
        scan=_scan([1.0, float("nan"), 0.0, 4.0], [0.9, 0.1, np.nan, 0.0]),
        found_triggers=[_found(name)],
        clean_images=[1, 2],
        steps=[(name, 1.0)],
        settings={name: name},
        versions={name: name},
    )


def test_hostile_names_are_shown_and_not_obeyed(tmp_path):
    _named(HOSTILE).save(tmp_path)
    written = (tmp_path / "report.html").read_text(encoding="utf-8")
    shown = _Page(written)
    harmless = [tag for tag in _page(_named("name")).tags if tag != "wbr"]
    assert [tag for tag in shown.tags if tag != "wbr"] == harmless
    assert HOSTILE in shown.texts
    assert "{{ 7 * 7 }}" in shown.text and "49" not in shown.texts
    masked = next(row for row in shown.rows if row.endswith("1 of 2 0.100"))
    assert masked.replace(" ", "") == f"{HOSTILE}1of20.100".replace(" ", "")
    _nothing_to_load(shown)


def test_the_page_loads_nothing_and_runs_nothing(draws):
    written = page.render(_report())
    _nothing_to_load(_Page(written))
    assert not re.search(r"https?:|url\(|@import", written)


def _nothing_to_load(shown):
    assert not {"script", "iframe", "object", "form", "a"} & set(shown.tags)
    assert not [name for name, _ in shown.attributes if name.startswith("on")]
    for name, value in shown.attributes:
        if name in ("src", "href"):
            assert value.startswith("data:")


def test_pictures_masks_and_run_are_on_the_page():
    shown = _page(_report())
    # Two samples, the first once more, two attention maps, two figures.
    sources = [value for name, value in shown.attributes if name == "src"]
    kinds = [value.partition(";")[0] for value in sources]
    assert kinds.count("data:image/png") == 5
    assert kinds.count("data:image/svg+xml") == 2
    assert all(text for name, text in shown.attributes if name == "alt")
    assert "first 2 of 4 0.250" in shown.rows
    assert "second 0 of 9 0.950" in shown.rows
    assert "rescaling no weights" in shown.rows
    assert "first 0 0.250 pruned" in shown.rows
    assert shown.text.count("cat (wrong)") == 1
    assert "epsilon 0.4" in shown.rows and 'taps ["tap"]' in shown.rows
    assert "seed 7" in shown.rows
    assert "time 1 h 2 min 5 s" in shown.rows
    assert "peak memory 1.50 GiB" in shown.rows


def test_the_scan_names_the_suspected_class():
    scan = _scan([0.5, 4.0, 0.0, 0.1], [0.25, 0.75, 0.0, 0.0])
    shown = _page(_report(scan=scan))
    assert "The scan says: backdoored; the target is class 1." in shown.texts
    dog = shown.rows.index("dog suspected 4.000 75.0 % 11.0 1.0 %")
    assert dog < shown.rows.index("cat 0.500 25.0 % 10.0 0.0 %")
    chance = f"Probability of a backdoor: {100 * scan.probability:.1f}"
    assert any(text.startswith(chance) for text in shown.texts)
    assert not any("The scan says" in text for text in _page(_report()).texts)
    assert _report(scan=scan).to_json()["scan"]["suspected"] == 1


def test_what_was_found_is_shown_with_what_it_does():
    shown = _page(_report(found_triggers=[_found()]))
    assert "A trigger of 64.0 pixels" in shown.text
    # Two images of cats: dogs before, one of them a cat again.
    assert shown.text.count("true cat before dog (wrong)") == 2
    assert shown.text.count("before dog (wrong) purified cat") == 1
    alts = [text for name, text in shown.attributes if name == "alt"]
    assert "the trigger that was found" in alts
    assert alts.count("a clean image with the trigger") == 2


def test_each_class_is_judged_or_said_not_to_be():
    report = _report(
        clean_images=[30, 5, 0],
        scores={
            "before": _scores_of([1] * 29, [0] * 9 + [1] * 20),
            "purified": _scores_of([1] * 14 + [0] * 15, [0] * 9 + [1] * 20),
        },
        test_scores={
            "before": _scores_of([1, 1], [0, 2]),
            "purified": _scores_of([0, 1], [0, 2]),
        },
    )
    rows = _page(report).rows
    # What lost most comes first: the only cat, then three of four dogs,
    # of which there are enough to be sure.
    cat = "cat 30 100.0 % → 100.0 % n = 9 100.0 % → 0.0 % n = 1"
    dog = "dog 5 fell 100.0 % → 25.0 % n = 20 no image"
    other = "class 2 0 no image 100.0 % → 100.0 % n = 1"
    assert rows.index(cat) < rows.index(dog) < rows.index(other)
    content = report.to_json()["classes"]
    assert [row["clean_images"] for row in content] == [30, 5, 0]
    assert content[1]["held_out"]["purified"]["successes"] == 5
    assert content[1]["held_out"]["fell"] and content[1]["test"] is None


def test_steps_say_where_the_time_went():
    report = _report(steps=[("Scanning", 61.2), ("Pruning", 0.25)])
    rows = _page(report).rows
    assert "Scanning 1 min 1 s" in rows and "Pruning 0.2 s" in rows
    assert report.to_json()["steps"][0] == {"step": "Scanning", "seconds": 61.2}


def test_a_report_of_little_is_still_a_page():
    shown = _page(
        _report(
            scores={},
            curve=[],
            chosen=None,
            neuron_masks={},
            pruned={},
            skipped={},
            samples=np.zeros((0, 8, 8, 1)),
            sample_labels=[],
            predictions={},
            class_names=None,
            attention={},
            settings={},
        )
    )
    # What was not done has no place on the page.
    for heading in ("Pruning curve", "Masks by layer", "Neurons pruned"):
        assert heading not in shown.texts
    assert "The classifier was not hardened." in shown.text


def test_a_page_of_large_images_and_many_layers_stays_small(draws):
    rng = np.random.default_rng(0)
    report = _report(
        samples=rng.random((8, 224, 224, 3)),
        sample_labels=[0] * 8,
        predictions={},
        neuron_masks={f"layer_{i}": rng.random(64) for i in range(200)},
        pruned={},
    )
    assert len(page.render(report)) < 1.5e6


def test_the_curve_is_where_the_numbers_are():
    (axis,) = figures.draw_curve(_curve(), chosen=0.6).axes
    accuracy, chosen = axis.lines
    # The unpruned point is left of the threshold 0.
    np.testing.assert_allclose(accuracy.get_xydata(), [[-0.1, 95], [0.6, 90]])
    assert accuracy.get_label() == "clean accuracy"
    assert list(chosen.get_xdata()) == [0.6, 0.6]


def test_pruned_neurons_lie_on_the_kept_ones_of_the_same_mask():
    masks = {"a": np.array([0.0] * 4 + [1.0]), "b": np.array([np.nan, 1.0])}
    (axis,) = figures.draw_pruned(masks, {"a": np.array([2])}).axes
    kept, pruned = axis.containers
    assert [bar.get_height() for bar in kept][:: len(kept) - 1] == [3, 2]
    lowest = pruned[0]
    assert (lowest.get_y(), lowest.get_height()) == (3, 1)
    assert not any(bar.get_height() for bar in pruned[1:])


def test_the_page_is_the_same_each_time(draws):
    assert page.render(_report()) == page.render(_report())


def test_figures_are_small_and_run_nothing(draws):
    written = canvas.to_svg(figures.draw_curve(_curve()))
    assert len(written) < 50_000
    assert "<script" not in written and "dc:date" not in written


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_hold_the_pixels(channels):
    image = np.random.default_rng(0).integers(0, 256, (6, 5, channels)) / 255
    np.testing.assert_allclose(
        _pixels(image).reshape(6, 5, channels), image, atol=1e-6
    )


def _pixels(image):
    _, encoded = pictures.picture(image).split(",")
    return matplotlib.image.imread(io.BytesIO(base64.b64decode(encoded)))


@pytest.mark.parametrize(
    ("shape", "shown", "words"),
    [
        ((6, 5), lambda x: x, ""),
        ((6, 5, 2), lambda x: x[..., 0], "Of 2 channels the first"),
        ((6, 5, 4), lambda x: x[..., :3], "Of 4 channels the first 3"),
        ((6, 5, 13), lambda x: x.mean(-1), "Of 13 channels their mean"),
    ],
)
def test_other_channels_are_shown_as_the_page_says(shape, shown, words):
    image = np.random.default_rng(0).integers(0, 256, shape) / 255
    np.testing.assert_allclose(_pixels(image), shown(image), atol=0.5 / 255)
    written = page.render(_report(samples=image[None].repeat(2, axis=0)))
    assert words in " ".join(_Page(written).texts)


def test_samples_that_are_no_images_have_no_picture():
    shown = _page(_report(samples=np.zeros((2, 7)), attention={}))
    assert shown.text.count("No picture.") == 2


def test_suspicious_neurons_come_by_rising_mask():
    masks = {"a": np.array([0.5, np.nan]), "b": np.array([0.7, 0.125, 0.6])}
    rows = tfbackdoor.report.suspicious_neurons(
        masks, {"b": np.array([1])}, count=3
    )
    assert rows == [
        ("b", 1, 0.125, True),
        ("a", 0, 0.5, False),
        ("b", 2, 0.6, False),
    ]
    assert len(tfbackdoor.report.suspicious_neurons(masks, {})) == 5
    with pytest.raises(ValueError, match="`count`"):
        tfbackdoor.report.suspicious_neurons(masks, {}, count=-1)


def test_peak_memory_is_in_bytes():
    # TensorFlow alone takes more than 64 MiB, and no machine has 4 TiB.
    assert 2**26 < report_module.peak_memory() < 2**42


def test_versions_are_those_that_run():
    assert report_module.versions()["keras"] == keras.__version__


def test_too_many_samples_are_refused():
    with pytest.raises(ValueError, match="`samples`.* Received: 9"):
        _report(samples=np.zeros((9, 8, 8, 3)))


def test_predictions_of_other_samples_are_refused():
    with pytest.raises(ValueError, match="`sample_labels`"):
        _report(predictions={"before": [0]})
