"""Feeds broken files to everything that reads a file.

    python tools/fuzz.py --inputs=4000

Each input is a small valid file (a model, an `.npz`, a folder or archive of
images, a trigger, a record of poisoning) with some bytes, members, headers or
settings changed. It must load, or end in a ValueError of one line, within
seconds and megabytes. Prints a table and exits with status 1 where anything
else happened; those inputs are kept under `--keep`.

Workers are processes with bounded memory, so a crash or a hang is a finding
and not the end.
"""

import argparse
import collections
import io
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile

LOADERS = ("keras", "h5", "npz", "folder", "tar", "trigger", "poisoning")
_MEMORY = 12 * 2**30  # Bytes of address space; TensorFlow alone takes 6.
_GROWTH = 2**30  # Bytes of resident memory that a worker may gain.
_SECONDS = 120
# Ours; other kinds of ValueError are a library's.
_REFUSALS = ("ValueError", "MissingSplitError")
_WORKER_INPUTS = 500
_NUMBERS = (0, -1, 1, 2**24, 2**24 + 1, 2**31, 2**63, 10**30, 1e308, 0.5)
_WORDS = (
    "os.system",
    "__lambda__",
    "Lambda",
    "keras.utils",
    "../../x",
    "/etc/passwd",
    "\u0000",
    "<script>",
    "",
    "float8",
    "x" * 10_000,
)


def make_seeds(folder: pathlib.Path, loaders=LOADERS) -> None:
    """Writes one small valid input for each loader."""
    folder.mkdir(parents=True, exist_ok=True)
    for loader in loaders:
        _SEEDS[loader](folder)


def _keras_seed(folder):
    import keras

    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu")(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = keras.ops.mean(x * 2.0, axis=(1, 2))
    classifier = keras.Model(inputs, keras.layers.Dense(3)(x))
    classifier.save(folder / "keras.keras")


def _h5_seed(folder):
    import keras

    # Legacy files cannot hold operations such as the mean above.
    keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ]
    ).save(folder / "h5.h5")


def _npz_seed(folder):
    import numpy as np

    np.savez(
        folder / "npz.npz", train_images=_pixels(), train_labels=np.arange(4)
    )


def _folder_seed(folder):
    from PIL import Image
    from PIL import ImageCms
    from PIL import PngImagePlugin

    # All that their headers may hold beside the size.
    exif = Image.Exif()
    exif[0x010E], exif[0x011A], exif[0x0128] = "a", 72.0, 2
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", "a")
    text.add_text("Comment", "b" * 100, zip=True)
    text.add_itxt("Author", "c", "en", "Author", zip=True)
    beside = {"exif": exif, "icc_profile": profile.tobytes(), "dpi": (72, 72)}
    for name in ("a", "b"):
        place = folder / "folder" / "train" / name
        place.mkdir(parents=True)
        png, jpeg = (Image.fromarray(pixels) for pixels in _pixels()[:2])
        png.save(place / "1.png", pnginfo=text, **beside)
        jpeg.save(place / "2.jpg", progressive=name == "b", **beside)


def _tar_seed(folder):
    with tempfile.TemporaryDirectory() as scratch:
        _folder_seed(pathlib.Path(scratch))
        with tarfile.open(folder / "tar.tar", "w") as archive:
            archive.add(pathlib.Path(scratch, "folder"), "images")


def _trigger_seed(folder):
    import tfbackdoor

    trigger = tfbackdoor.make_trigger("checkerboard", (8, 8, 3))
    trigger.save(folder / "trigger.npz")


def _poisoning_seed(folder):
    import numpy as np

    import tfbackdoor

    trigger = tfbackdoor.make_trigger("checkerboard", (8, 8, 3))
    (folder / "poisoning").mkdir()
    tfbackdoor.Poisoning(trigger, 3, indices=np.arange(3)).save(
        folder / "poisoning"
    )


def _pixels():
    import numpy as np

    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (4, 8, 8, 3)).astype("uint8")


_SEEDS = {
    "keras": _keras_seed,
    "h5": _h5_seed,
    "npz": _npz_seed,
    "folder": _folder_seed,
    "tar": _tar_seed,
    "trigger": _trigger_seed,
    "poisoning": _poisoning_seed,
}


def load(loader: str, path: pathlib.Path) -> None:
    """Reads `path` as a user would, to the last value."""
    import tfbackdoor

    if loader in ("keras", "h5"):
        tfbackdoor.load_classifier(path)
    elif loader in ("npz", "folder", "tar"):
        for _ in tfbackdoor.load_images(path):
            pass
    elif loader == "trigger":
        tfbackdoor.Trigger.load(path)
    else:
        tfbackdoor.Poisoning.load(path)


def mutate(
    loader: str, seed: pathlib.Path, path: pathlib.Path, number: int
) -> None:
    """Writes a changed copy of `seed` to `path`; the same for a number."""
    rng = random.Random(f"{loader}-{number}")
    if seed.is_dir():
        shutil.copytree(seed, path)
        files = sorted(p for p in path.rglob("*") if p.is_file())
        victim = rng.choice(files)
    else:
        shutil.copyfile(seed, path)
        victim = path
    if victim.is_dir():
        return
    content = victim.read_bytes()
    changes = [_flip, _flip, _cut, _splice, _header, _insert]
    if zipfile.is_zipfile(victim):
        changes += [_change_member] * 6 + [_add_member]
    if content[:1] == b"{":
        changes += [_change_json] * 6
    if loader == "h5":
        changes += [_change_embedded_json] * 3
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        content = rng.choice(changes)(content, rng)
    victim.write_bytes(content)


def _flip(content, rng):
    changed = bytearray(content)
    for _ in range(rng.choice((1, 2, 8, 64))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(content, rng):
    return content[: rng.randrange(len(content) + 1)]


def _splice(content, rng):
    start, end, to = (rng.randrange(len(content) + 1) for _ in range(3))
    return (
        content[:to]
        + content[min(start, end) : max(start, end)][:4096]
        + (content[to:])
    )


def _insert(content, rng):
    place = rng.randrange(len(content) + 1)
    return (
        content[:place]
        + rng.randbytes(rng.choice((1, 4, 64)))
        + (content[place + rng.choice((0, 4)) :])
    )


def _header(content, rng):
    """Overwrites 1 to 8 of the first bytes, where sizes and versions are."""
    changed = bytearray(content)
    size = rng.choice((1, 2, 4, 8))
    place = rng.randrange(max(min(len(changed), 256) - size, 1))
    changed[place : place + size] = rng.choice(
        (b"\xff" * size, b"\0" * size, rng.randbytes(size), b"\x7f" * size)
    )
    return bytes(changed)


def _change_json(content, rng):
    try:
        tree = json.loads(content)
    except ValueError:
        return _flip(content, rng)
    places = []
    pending = [tree]
    while pending:
        value = pending.pop()
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, child in items:
            places.append((value, key))
            if isinstance(child, (dict, list)):
                pending.append(child)
    if not places:
        return content
    owner, key = rng.choice(places)
    other, other_key = rng.choice(places)
    kind = rng.randrange(6)
    if kind == 0:
        del owner[key]
    elif kind == 1:
        owner[key] = rng.choice(_NUMBERS)
    elif kind == 2:
        owner[key] = rng.choice(_WORDS)
    elif kind == 3:
        owner[key] = json.loads(json.dumps(other[other_key]))
    elif kind == 4:
        owner[key] = rng.choice((None, [], {}, True, [None], [[]], {"a": 1}))
    else:
        owner[key] = [owner[key]] * rng.choice((2, 100))
    return json.dumps(tree).encode()


def _change_embedded_json(content, rng):
    """Changes a number or word of the config in an HDF5 file, in place."""
    start = content.find(b'{"class_name"')
    if start < 0:
        return _flip(content, rng)
    changed = bytearray(content)
    end = content.find(b"\0", start)
    digits = [
        i for i in range(start, end) if content[i : i + 1] in b"0123456789"
    ]
    quotes = [i for i in range(start, end) if content[i : i + 1] == b'"']
    place = rng.choice(rng.choice((digits, quotes)) or [start]) + 1
    changed[place] = rng.choice(b'0123456789",:[]{}-exn')
    return bytes(changed)


def _members(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return [(x, archive.read(x)) for x in archive.infolist()]


def _zipped(members, rng):
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for info, content in members:
            archive.writestr(info, content)
    return written.getvalue()


def _change_member(content, rng):
    """Changes what is in a zip, so that its checksums hold."""
    try:
        members = _members(content)
    except Exception:  # Broken by an earlier change.
        return _flip(content, rng)
    if not members:
        return content
    index = rng.randrange(len(members))
    info, inner = members[index]
    changes = [_flip, _cut, _splice, _header, _header]
    if inner[:1] == b"{":
        changes += [_change_json] * 10
    members[index] = info, rng.choice(changes)(inner, rng)
    return _zipped(members, rng)


def _add_member(content, rng):
    try:
        members = _members(content)
    except Exception:
        return _flip(content, rng)
    if not members:
        return content
    name, (_, inner) = (
        rng.choice(("../../evil", "/etc/evil", "assets/x", "a.npy", "", "x/")),
        rng.choice(members),
    )
    members.append((zipfile.ZipInfo(name), inner))
    if rng.random() < 0.3:
        del members[rng.randrange(len(members))]
    return _zipped(members, rng)


def input_path(folder: pathlib.Path, loader: str) -> pathlib.Path:
    """Where an input of `loader` is written, with its suffix."""
    suffixes = {"trigger": ".npz", "folder": "", "poisoning": ""}
    return folder / f"input{suffixes.get(loader, f'.{loader}')}"


def work(loader, seeds, scratch, numbers):
    """Runs in a worker: one line of JSON for each input, before and after."""
    import resource

    import psutil

    import tfbackdoor

    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    (seed,) = pathlib.Path(seeds).glob(f"{loader}*")
    load(loader, seed)
    assert tfbackdoor
    process = psutil.Process()
    for number in numbers:
        path = input_path(pathlib.Path(scratch), loader)
        _remove(path)
        mutate(loader, seed, path, number)
        print(json.dumps({"start": number}), flush=True)
        before, start = process.memory_info().rss, time.monotonic()
        result = outcome(loader, path)
        seconds = time.monotonic() - start
        grown = process.memory_info().rss - before
        if result in ("loaded", "refused") and grown > _GROWTH:
            result = f"grew by {grown} bytes"
        print(json.dumps({"end": result, "seconds": seconds}), flush=True)


def outcome(loader: str, path: pathlib.Path) -> str:
    """`"loaded"`, `"refused"`, or what else happened."""
    try:
        load(loader, path)
    except ValueError as error:
        is_ours = type(error).__name__ in _REFUSALS
        if not is_ours or len(str(error).splitlines()) != 1:
            return f"{type(error).__name__} of many lines: {error}"[:300]
        return "refused"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:300]
    return "loaded"


def _remove(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def run(loader, seeds, numbers, keep) -> collections.Counter:
    """The outcomes of the inputs `numbers`, over several workers."""
    outcomes, numbers = collections.Counter(), list(numbers)
    while numbers:
        batch = numbers[:_WORKER_INPUTS]
        with tempfile.TemporaryDirectory() as scratch:
            done = _run_worker(loader, seeds, scratch, batch, outcomes, keep)
        numbers = numbers[done:]
    return outcomes


def _run_worker(loader, seeds, scratch, batch, outcomes, keep):
    """Runs one worker to its end; the number of inputs it has seen."""
    first, last = batch[0], batch[-1] + 1
    worker = subprocess.Popen(
        [sys.executable, __file__, "--work", loader, str(seeds), scratch]
        + [f"{first}:{last}"],
        stdout=subprocess.PIPE,
        text=True,
    )
    watch = _Watch(worker)
    seen = 0
    for line in worker.stdout:
        message = json.loads(line)
        watch.restart()
        if "start" in message:
            seen, current, result = seen + 1, message["start"], None
            continue
        result = message["end"]
        _note(outcomes, loader, current, result, seeds, keep)
        outcomes["slowest"] = max(outcomes["slowest"], message["seconds"])
    worker.wait()
    watch.stop()
    if worker.returncode and not seen:
        raise SystemExit(f"The worker of {loader} does not start.")
    if worker.returncode:
        reason = "hang" if watch.expired else f"exit {worker.returncode}"
        _note(outcomes, loader, current, reason, seeds, keep)
    return seen


class _Watch:
    """Kills a process that is silent for too long."""

    def __init__(self, process):
        self._process, self._timer, self.expired = process, None, False
        self.restart(5 * _SECONDS)  # TensorFlow starts first.

    def restart(self, seconds=_SECONDS):
        import threading

        self.stop()
        self._timer = threading.Timer(seconds, self._kill)
        self._timer.daemon = True
        self._timer.start()

    def stop(self):
        if self._timer:
            self._timer.cancel()

    def _kill(self):
        self.expired = True
        self._process.kill()


def _note(outcomes, loader, number, result, seeds, keep):
    kind = result if result in ("loaded", "refused") else "other"
    outcomes[kind] += 1
    if kind != "other":
        return
    print(f"{loader} {number}: {result}", flush=True)
    (seed,) = pathlib.Path(seeds).glob(f"{loader}*")
    place = pathlib.Path(keep, f"{loader}-{number}")
    place.mkdir(parents=True, exist_ok=True)
    path = input_path(place, loader)
    _remove(path)
    mutate(loader, seed, path, number)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
    )
    parser.add_argument("--inputs", type=int, default=4000, help="in all")
    parser.add_argument("--first", type=int, default=0, help="number of first")
    parser.add_argument("--loaders", nargs="+", default=LOADERS)
    parser.add_argument("--keep", default="fuzz-findings", help="a folder")
    arguments = parser.parse_args()
    each = -(-arguments.inputs // len(arguments.loaders))
    failed = False
    with tempfile.TemporaryDirectory() as seeds:
        make_seeds(pathlib.Path(seeds))
        rows = []
        for loader in arguments.loaders:
            start = time.monotonic()
            numbers = range(arguments.first, arguments.first + each)
            found = run(loader, seeds, numbers, arguments.keep)
            failed = failed or bool(found["other"])
            rows.append((loader, each, found, time.monotonic() - start))
    print("| loader | inputs | loaded | refused | other | slowest | in all |")
    print("|---|---|---|---|---|---|---|")
    for loader, count, found, seconds in rows:
        print(
            f"| {loader} | {count} | {found['loaded']} | {found['refused']} | "
            f"{found['other']} | {found['slowest']:.1f} s | {seconds:.0f} s |"
        )
    sys.exit(failed)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
    if sys.argv[1:2] == ["--work"]:
        loader, seeds, scratch, span = sys.argv[2:]
        work(loader, seeds, scratch, range(*map(int, span.split(":"))))
    else:
        main()
