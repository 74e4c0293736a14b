"""The folder of a run: whole or not at all, and resumed after a kill."""

import contextlib
import json
import pathlib
import shutil
import signal
import tempfile

from absl import flags

from . import run_record

FLAGS = flags.FLAGS


@contextlib.contextmanager
def new_folder(output: pathlib.Path, launcher: str, launcher_flags: list):
    """Yields a new folder, which becomes `output` when all has ended well.

    It lies in `.OUTPUT.partial`, beside the checkpoints of a run that can be
    resumed: one with `--output`. An error removes both; but not checkpoints
    that were there before, nor where another try may end otherwise: after a
    kill or an error of the machine, which is no ValueError.

    Raises:
        ValueError: where the folder is in use, or an interrupted run in it
            was another one.
    """
    import tfbackdoor
    from tfbackdoor import errors

    if not tfbackdoor.network.is_chief():
        with _thrown_away(output, launcher, launcher_flags) as folder:
            yield folder
        return
    partial = _partial(output)
    partial.mkdir(parents=True, exist_ok=True)
    with tfbackdoor.files.claim(partial / "claim") as alone:
        if not alone:
            raise ValueError(
                "--output must not be another process's. "
                f"Received: {output}, which one is writing now."
            )
        resumed = has_checkpoints(output)
        if not resumed:
            for name in (run_record.FLAGS_FILE, run_record.RUN_FILE):
                (partial / name).unlink(missing_ok=True)
        try:
            _check_unused(output)
            _check_same_flags(partial, launcher_flags)
            with _whole_folder(output, launcher, launcher_flags) as folder:
                yield folder
        except BaseException as error:
            fatal = errors.is_expected(error) and not resumed
            if fatal or not has_checkpoints(output):
                shutil.rmtree(partial)
            raise
        shutil.rmtree(partial)
    print(f"Everything is in {output}")


@contextlib.contextmanager
def shared_folder(output: pathlib.Path, *_):
    """Yields `output` as it is."""
    yield output
    print(f"Everything is in {output}")


@contextlib.contextmanager
def ended_by_sigterm():
    """A context that SIGTERM ends by `Stopped`; a fit saves first."""
    import tfbackdoor

    before = signal.signal(signal.SIGTERM, tfbackdoor.training.stop)
    try:
        yield
    finally:
        # None is a handler that was not set from Python.
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def has_checkpoints(output: pathlib.Path) -> bool:
    """Whether there is a run to resume."""
    return any(_partial(output).glob("checkpoints/[!.]*.npz"))


@contextlib.contextmanager
def _thrown_away(output, launcher, launcher_flags):
    """Yields the folder of a worker that is not the one that writes.

    It resumes from the same checkpoints, on a file system of all workers.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        with (
            run_record.recorded(path, launcher, launcher_flags),
            _resumable(_partial(output)),
        ):
            yield path


@contextlib.contextmanager
def _whole_folder(output, launcher, launcher_flags):
    import tfbackdoor

    partial = _partial(output)
    folder = partial / "run"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        with (
            run_record.recorded(partial, launcher, launcher_flags),
            _resumable(partial),
        ):
            yield folder
    except BaseException:
        shutil.rmtree(folder)
        raise
    tfbackdoor.files.write_json(
        folder / run_record.FLAGS_FILE, _values(launcher_flags)
    )
    shutil.copy(partial / run_record.RUN_FILE, folder)
    if output.exists():
        output.rmdir()
    folder.rename(output)


def _resumable(partial):
    """A context with checkpoints where there is an `--output`."""
    import tfbackdoor

    if not FLAGS.output:
        return contextlib.nullcontext()
    return tfbackdoor.resumable(
        partial / "checkpoints", seconds=FLAGS.checkpoint_seconds
    )


def _check_unused(output):
    if output.is_file() or (output.is_dir() and any(output.iterdir())):
        raise ValueError(
            f"--output must be a new or empty folder. Received: {output}"
        )


def _check_same_flags(partial, launcher_flags):
    """Raises ValueError where an interrupted run had other flags."""
    import tfbackdoor

    path, now = partial / run_record.FLAGS_FILE, _values(launcher_flags)
    if not path.exists():
        tfbackdoor.files.write_json(path, now)
        return
    before = json.loads(path.read_text())
    names = sorted({*before, *now} - set(run_record.FREE))
    changed = [name for name in names if before.get(name) != now.get(name)]
    if changed:
        kept, given = (
            ", ".join(f"--{name}={values.get(name)}" for name in changed)
            for values in (before, now)
        )
        raise ValueError(
            f"--output holds an interrupted run with {kept}: repeat its flags "
            f"to go on, or remove {partial}. Received: {given}"
        )


def _partial(output):
    return output.with_name(f".{output.name}.partial")


def _values(launcher_flags):
    return {flag.name: flag.value for flag in launcher_flags}
