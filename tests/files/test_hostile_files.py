import html.parser
import json
import os
import pathlib
import sys

import hostile
import numpy as np
import pytest
import tensorflow as tf

import tfbackdoor
from tfbackdoor.attacks import triggers
from tfbackdoor.files import image_files
from tfbackdoor.files import json_files
from tfbackdoor.files import zip_archives
from tfbackdoor.report import page

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tools"))
import fuzz
import soak


def _refused(read, path, message):
    with pytest.raises(ValueError, match=message) as refusal:
        read(path)
    assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("shape", "descr", "message"),
    [
        ("(1000000, 1000000)", "'<f4'", "which its size denies"),
        ("(-1, -4)", "'<f4'", "which its size denies"),
        ("(4,)", "'|O'", "holds object"),
        ("(4,)", "'<M8[s]'", "not numbers"),
        ("(10000000000000,)", "'|S0'", "not numbers"),
        ("(1,)", "'<c16'", "not numbers"),
        ("(1,)", "__import__('os')", "cannot be read"),
    ],
)
def test_arrays_are_checked_before_memory_is_taken(
    tmp_path, shape, descr, message
):
    path = tmp_path / "a.npz"
    hostile.npz_with_shape(path, shape, descr, bytes(16))
    _refused(tfbackdoor.files.read_arrays, path, f"`path`.*{message}")


def test_arrays_within_their_limits_are_read(tmp_path):
    arrays = {
        "bytes": np.arange(6, dtype="uint8").reshape(2, 3),
        "big endian": np.arange(3, dtype=">f4"),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "none": np.zeros((0, 3), "float32"),
        "text": np.array(["a", "b"]),
        "zeros": np.zeros(10**6, "float32"),
    }
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    found = tfbackdoor.files.read_arrays(tmp_path / "a.npz")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype.isnative


def test_arrays_that_unpack_out_of_proportion_are_refused(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(zip_archives, "_EXPANSION_FLOOR", 2**20)
    hostile.bomb(tmp_path / "a.npz", "mask.npy", 2**24)
    _refused(
        tfbackdoor.files.read_arrays, tmp_path / "a.npz", "out of proportion"
    )


def test_a_trigger_file_has_limits(tmp_path, monkeypatch):
    path = tmp_path / "t.npz"
    shape = (4, 4, 3)
    good = {"mask": np.zeros(shape), "pattern": np.zeros(shape)}
    for changed, message in (
        ({"mask": np.full(shape, "x")}, "arrays of numbers"),
        ({"eight_bit": np.zeros(2, bool)}, "`eight_bit` must be one truth"),
        ({"pattern": np.full(shape, np.inf)}, "`pattern` be finite"),
        ({"mask": np.zeros((0, 4, 3))}, "must have the image's shape"),
        ({"mask": np.zeros(3), "pattern": np.zeros(3)}, "the image's shape"),
    ):
        np.savez(path, **(good | changed))
        _refused(tfbackdoor.Trigger.load, path, message)
    monkeypatch.setattr(triggers, "_LARGEST_FILE", 100)
    np.savez_compressed(path, x=np.zeros((3, 4, 4)))
    _refused(tfbackdoor.Trigger.load, path, "out of proportion")


@pytest.mark.parametrize(
    ("kind", "good", "bad", "message"),
    [
        ("Warp", {"flow": np.zeros((4, 4, 2))}, {"shake": "x"}, "of numbers"),
        ("Warp", {"shake": 0.5}, {"flow": np.zeros((4, 4, 3))}, "`flow` must"),
        ("Warp", {"shake": 0.5}, {}, "`path` must hold the arrays"),
        ("Dithering", {}, {"levels": np.zeros(2, int)}, "`levels` must be"),
        ("Dithering", {}, {"levels": np.inf}, "`levels` must be"),
    ],
)
def test_other_trigger_files_have_limits(tmp_path, kind, good, bad, message):
    path = tmp_path / "t.npz"
    np.savez(path, **(good | bad))
    _refused(getattr(tfbackdoor.attacks, kind).load, path, message)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"classes": "3"}, "`classes` must be of kind int"),
        ({"classes": True}, "`classes` must be of kind int"),
        ({"target": 1.5}, "`target` must be of kind int"),
        ({"rate": [0.1]}, "`rate` must be of kind float"),
        ({"mode": ["all_to_one"]}, "`mode` must be of kind str"),
        ({"mode": "other"}, "`mode` must be one of"),
        ({"target": 10**30}, "`target` must be a class"),
    ],
)
def test_a_record_of_poisoning_is_typed(tmp_path, settings, message):
    trigger = tfbackdoor.make_trigger("square", (8, 8, 3))
    tfbackdoor.Poisoning(trigger, 3, indices=np.arange(3)).save(tmp_path)
    assert tfbackdoor.Poisoning.load(tmp_path).classes == 3
    path = tmp_path / "poisoning.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    _refused(tfbackdoor.Poisoning.load, tmp_path, f"`folder`.*{message}")


@pytest.mark.parametrize("name", ["indices", "covers"])
def test_poisoned_indices_are_positions(tmp_path, name):
    trigger = tfbackdoor.make_trigger("square", (8, 8, 3))
    tfbackdoor.Poisoning(trigger, 3).save(tmp_path)
    arrays = {"indices": np.array([1]), name: np.array([-1])}
    np.savez(tmp_path / "poisoned_indices.npz", **arrays)
    _refused(tfbackdoor.Poisoning.load, tmp_path, f"`{name}` must be")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[1]", "it holds a list"),
        (b'{"a": NaN}', "the number NaN"),
        (b'{"a": 1e999}', "the number 1e999"),
        (b'{"a": ' * 10**5, "nested too deeply"),
        (b'{"a": ' * 300 + b"1" + b"}" * 300, "nested too deeply"),
        (b"\xff\xfe\xff", "cannot be read"),
        (b'{"a": ' + b"1" * 5000 + b"}", "cannot be read"),
        (b" " * 200 + b"{}", "more than 100 bytes"),
    ],
)
def test_json_is_bounded(tmp_path, content, message):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    limit = 100 if message.startswith("more") else json_files.LARGEST
    _refused(lambda p: json_files.read_json(p, limit=limit), path, message)


def _folder(tmp_path, name="a.png", *, label="cat"):
    place = tmp_path / "train" / label
    place.mkdir(parents=True)
    return place / name


def _load(path):
    return list(tfbackdoor.load_images(path))


@pytest.mark.parametrize("size", [(2**16, 2**16), (2**31, 1), (1, 2**26)])
def test_image_bombs_are_refused_by_their_header(tmp_path, size):
    _folder(tmp_path).write_bytes(hostile.png(*size))
    _refused(_load, tmp_path, "`source`.* at most 33554432 pixels")


def test_a_jpeg_bomb_is_refused_by_its_header(tmp_path):
    jpeg = tf.io.encode_jpeg(np.zeros((8, 12, 3), "uint8")).numpy()
    path = _folder(tmp_path, "a.jpg")
    path.write_bytes(jpeg)
    assert image_files.image_dimensions(path) == (8, 12)
    size = b"\x00\x08\x00\x0c"  # Height and width in the frame header.
    assert jpeg.count(size) == 1
    path.write_bytes(jpeg.replace(size, b"\xff\xff\xff\xff"))
    _refused(_load, tmp_path, "`source`.* of 65535 x 65535")


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (7, 300), (300, 7)])
def test_headers_tell_the_size_that_decoding_gives(tmp_path, progressive, size):
    pixels = np.zeros((*size, 3), "uint8")
    for content in (
        tf.io.encode_jpeg(pixels, progressive=progressive).numpy(),
        tf.io.encode_png(pixels).numpy(),
    ):
        (tmp_path / "x").write_bytes(content)
        assert image_files.image_dimensions(tmp_path / "x") == size
        assert tuple(tf.io.decode_image(content).shape[:2]) == size


@pytest.mark.parametrize(
    "content", [b"", b"GIF89a" + bytes(50), b"BM" + bytes(50), b"\xff\xd8\xff"]
)
def test_other_kinds_of_image_are_refused(tmp_path, content):
    _folder(tmp_path).write_bytes(content)
    _refused(_load, tmp_path, "`source` must hold PNG or JPEG")


def test_a_broken_image_is_met_when_loading(tmp_path):
    _folder(tmp_path).write_bytes(hostile.png(8, 8, b"too short"))
    _refused(_load, tmp_path, "`source` must hold images that can be decoded")


def test_images_of_several_sizes_need_a_size(tmp_path):
    path = _folder(tmp_path)
    for width in (5, 6):
        pixels = np.zeros((5, width, 3), "uint8")
        png = tf.io.encode_png(pixels).numpy()
        path.with_name(f"{width}.png").write_bytes(png)
    _refused(_load, tmp_path, "images of one size where `image_size`")
    loaded = tfbackdoor.load_images(tmp_path, image_size=(4, 4))
    assert [image.shape for image, _ in loaded] == [(4, 4, 3)] * 2


def test_a_whole_set_has_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(image_files, "MOST_BYTES", 100)
    _folder(tmp_path).write_bytes(hostile.png(8, 8))  # 192 bytes as RGB.
    _refused(_load, tmp_path, "at most 100 bytes together")


def test_a_file_has_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(image_files, "LARGEST_FILE", 10)
    _folder(tmp_path).write_bytes(hostile.png(8, 8))
    _refused(_load, tmp_path, "at most 10 bytes")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipes_and_links_do_no_harm(tmp_path):
    path = _folder(tmp_path)
    os.mkfifo(path)
    _refused(_load, tmp_path, "no regular file")
    path.unlink()
    path.symlink_to(tmp_path / "absent")
    _refused(_load, tmp_path, "`source` must hold readable images")
    path.unlink()
    path.symlink_to(__file__)
    _refused(_load, tmp_path, "must hold PNG or JPEG")


def test_odd_names_are_names(tmp_path):
    png = tf.io.encode_png(np.zeros((4, 4, 3), "uint8")).numpy()
    for label in ("[a]*?", "new\nline", "<script>\"'", "$(true)", "é"):
        _folder(tmp_path, "%s {}.png", label=label).write_bytes(png)
    labels = {int(label) for _, label in tfbackdoor.load_images(tmp_path)}
    assert labels == set(range(5))


def test_a_broken_file_with_an_odd_name_is_named_on_one_line(tmp_path):
    _folder(tmp_path, "\x1b[31m\n.png").write_bytes(b"x")
    _refused(_load, tmp_path, r"\\x1b\[31m\\n\.png")


class _Elements(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.names, self.attributes = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.attributes += [name for name, _ in attrs]


def test_a_class_name_of_markup_and_quotes_stays_text():
    template = "<p title=\"{{ name }}\" lang='{{ name }}'>{{ name }}</p>"
    name = "\"'><script>alert(1)</script><p onload='x"
    shown = page._environment().from_string(template).render(name=name)
    elements = _Elements(shown)
    assert elements.names == ["p"]
    assert elements.attributes == ["title", "lang"]


@pytest.mark.parametrize(
    "loader", ["npz", "folder", "tar", "trigger", "poisoning"]
)
def test_mutated_inputs_load_or_are_refused(tmp_path, loader):
    fuzz.make_seeds(tmp_path / "s", [loader])
    (seed,) = (tmp_path / "s").glob(f"{loader}*")
    outcomes = set()
    for number in range(20):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = fuzz.input_path(folder, loader)
        fuzz.mutate(loader, seed, path, number)
        outcomes.add(fuzz.outcome(loader, path))
    assert outcomes <= {"loaded", "refused"} and "refused" in outcomes


def test_mutated_models_load_or_are_refused(tmp_path):
    fuzz.make_seeds(tmp_path / "s", ["keras", "h5"])
    outcomes = set()
    for loader in ("keras", "h5"):
        (seed,) = (tmp_path / "s").glob(f"{loader}*")
        for number in range(6):
            path = fuzz.input_path(tmp_path, loader)
            path.unlink(missing_ok=True)
            fuzz.mutate(loader, seed, path, number)
            outcomes.add(fuzz.outcome(loader, path))
    assert outcomes <= {"loaded", "refused"} and "refused" in outcomes


def test_a_soak_is_judged_by_growth_after_the_warm_up():
    # Warm-up doubles memory; afterwards 100 MiB gain 4 % or 6 %.
    for growth, fine in ((0.04, True), (0.06, False)):
        samples = [(t, 50.0 + t, 7) for t in range(20)]
        samples += [(t, 100.0, 7) for t in range(20, 50)]
        samples += [(t, 100.0 * (1 + growth), 7) for t in range(50, 100)]
        assert soak.verdict(samples, 100.0)[0] is fine
    leaking = [(t, 100.0, 7 + t // 50) for t in range(100)]
    assert not soak.verdict(leaking, 100.0)[0]
