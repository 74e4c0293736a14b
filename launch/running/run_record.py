"""What a run was made of, so that it can be repeated: `--repeat`."""

import contextlib
import contextvars
import json
import pathlib

from absl import flags

FLAGS = flags.FLAGS
FLAGS_FILE, RUN_FILE = "flags.json", "run.json"
# Flags that change no result: --repeat leaves them, a resumed run ignores them.
FREE = ("checkpoint_seconds", "data_dir", "output", "repeat", "traceback")
_NOT_TAKEN = ("checkpoint_seconds", "output", "repeat", "traceback")
_current: contextvars.ContextVar = contextvars.ContextVar(
    "run_record", default=None
)


def take_flags(argv: list[str]) -> None:
    """Makes the flags of the `--repeat` in `argv` the defaults."""
    folder = _repeated(argv)
    if folder is None:
        return
    for name, value in _read(folder / FLAGS_FILE).items():
        if name not in FLAGS:
            raise ValueError(
                "--repeat must be a folder of a run of this launcher. "
                f"Received: {folder}, which has the flag --{name}"
            )
        if name not in _NOT_TAKEN:
            FLAGS.set_default(name, value)


class RunRecord:
    """What a run is made of, beside its flags; written as it becomes known.

    Args:
        path: `pathlib.Path` of the record of this run; where it is there
            already, from before an interruption, all must be as it says.
        launcher: str, name.
        flags: the launcher's flags.
    """

    def __init__(self, path: pathlib.Path, launcher: str, flags: list):
        import tfbackdoor

        self._path = path
        self._earlier = [_read(path)] if path.exists() else []
        if FLAGS.repeat:
            _check_explicit(flags)
            self._earlier.append(_read(pathlib.Path(FLAGS.repeat) / RUN_FILE))
        self.content = {
            "launcher": launcher,
            "seed": FLAGS.seed,
            "versions": tfbackdoor.report.versions(),
            "files": _file_fingerprints(flags),
            "data": {},
        }
        self._check_start()
        self._write()

    def add_images(self, split: str, images) -> None:
        """Adds what was read, which must be what an earlier run read."""
        import tfbackdoor

        found = tfbackdoor.files.fingerprint_images(images)
        for earlier in self._earlier:
            if earlier["data"].get(split, found) != found:
                raise ValueError(
                    f"The split {split} of --dataset must be the images of "
                    f"the earlier run, {earlier['data'][split]}. Received: "
                    f"{found}"
                )
        self.content["data"][split] = found
        self._write()

    def _check_start(self):
        for earlier in self._earlier:
            if earlier["launcher"] != self.content["launcher"]:
                raise ValueError(
                    "--repeat must be a run of this launcher. Received: one "
                    f"of {earlier['launcher']}"
                )
            for name, version in earlier["versions"].items():
                now = self.content["versions"].get(name)
                if now != version:
                    print(f"Warning: {name} was {version} and is {now}")
            for name, digest in earlier["files"].items():
                if self.content["files"].get(name) != digest:
                    raise ValueError(
                        f"--{name} must be the file of the earlier run. "
                        f"Received: {FLAGS[name].value}, another one."
                    )

    def _write(self):
        import tfbackdoor

        tfbackdoor.files.write_json(self._path, self.content)


@contextlib.contextmanager
def recorded(folder: pathlib.Path, launcher: str, flags: list):
    """A context whose images are recorded in the folder's `run.json`."""
    token = _current.set(RunRecord(folder / RUN_FILE, launcher, flags))
    try:
        yield
    finally:
        _current.reset(token)


def add_images(split: str, images) -> None:
    """Adds images that were read to the record of this run, if it has one."""
    record = _current.get()
    if record is not None:
        record.add_images(split, images)


def _read(path):
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(
            f"--repeat must be the folder of a run, with {path.name}. "
            f"Received: {path.parent}, where reading fails with {error}"
        ) from error


def _repeated(argv):
    """The value of `--repeat`, before flags are parsed."""
    for flag, following in zip(argv, [*argv[1:], ""]):
        name, is_assigned, value = flag.lstrip("-").partition("=")
        if flag.startswith("-") and name == "repeat":
            return pathlib.Path(value if is_assigned else following)
    return None


def _check_explicit(flags):
    given = [f"--{f.name}" for f in flags if f.present and f.name not in FREE]
    if given:
        raise ValueError(
            "--repeat takes the flags of the earlier run; only "
            f"{', '.join(f'--{name}' for name in FREE if name != 'repeat')} "
            f"may be given beside it. Received: {', '.join(given)}"
        )


def _file_fingerprints(flags):
    import tfbackdoor

    return {
        flag.name: tfbackdoor.files.fingerprint_file(flag.value)
        for flag in flags
        if isinstance(flag.value, str) and pathlib.Path(flag.value).is_file()
    }
