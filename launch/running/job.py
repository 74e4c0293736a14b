"""Runs the job of a command: its flags, folder, signals and errors."""

import datetime
import pathlib
import sys
import warnings
from collections.abc import Callable
from collections.abc import Sequence

from absl import app
from absl import flags

from ..flags import run as run_flags
from . import run_folder
from . import run_record
from . import start_up

FLAGS = flags.FLAGS
_PACKAGE = __name__.partition(".")[0]  # launch or tfbackdoor_launch.
_STOPPED = 75  # EX_TEMPFAIL of sysexits.h: another try may succeed.


_format = warnings.formatwarning


def run(
    job: Callable[[pathlib.Path], None],
    name: str,
    *,
    required: Sequence[str] = (),
    shared: bool = False,
) -> None:
    """Runs `job(folder)` as an absl app, with the flags that its module adopts.

    The folder is written beside `--output` and renamed to it when the job has
    ended well; it is removed when the job fails. An error is printed as one
    sentence and the exit status is 1, after SIGTERM 75, after SIGINT 130.

    Args:
        job: function of the folder to write to.
        name: the command's name.
        required: names of flags without which it does not start.
        shared: whether the job gets `--output` as it is, which may hold what
            it or another process wrote before, and sees to its files itself.
    """
    taken = _taken_flags(job)

    def main(argv):
        if len(argv) > 1:
            _fail(f"Expected only flags. Received: {' '.join(argv[1:])}")
        try:
            _check_given(taken, required)
            start_up.start_tensorflow()
        except ValueError as error:
            _fail(error)
        _run(job, name, taken, shared)

    for flag in taken:
        FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    sys.modules["__main__"].__doc__ = _usage(job)
    app.run(main, flags_parser=_parse)


def _run(job, name, taken, shared):
    import tfbackdoor
    from tfbackdoor import errors

    # A command prints the warnings that an outcome has.
    warnings.filterwarnings(
        "ignore", category=tfbackdoor.defenses.DefenseWarning
    )
    warnings.formatwarning = _warning
    output = _output(name)
    make_folder = run_folder.shared_folder if shared else run_folder.new_folder
    try:
        with (
            make_folder(output, name, taken) as folder,
            run_folder.ended_by_sigterm(),
        ):
            job(folder)
    except KeyboardInterrupt:
        _fail_interrupted(output, "Interrupted", 130, shared)
    except tfbackdoor.training.Stopped:
        _fail_interrupted(output, "Stopped by SIGTERM", _STOPPED, shared)
    except Exception as error:  # The user gets a sentence, not a trace.
        if FLAGS.traceback:
            raise
        _fail(errors.sentence(error))


def _usage(job):
    """The docstring of the command, whose package has another name here."""
    usage = sys.modules[job.__module__].__doc__
    return usage.replace("python -m launch.", f"python -m {_PACKAGE}.")


def _taken_flags(job):
    """The flags of the command, however it was started."""
    own = FLAGS.get_key_flags_for_module(job.__module__)
    return [*FLAGS.get_flags_for_module(run_flags), *own]


def _parse(argv):
    if "--help" in argv:  # Absl would exit with status 1.
        app.usage(shorthelp=True, writeto_stdout=True, exitcode=0)
    try:
        run_record.take_flags(argv)
    except ValueError as error:
        _fail(error)
    return app.parse_flags_with_usage(argv)


def _check_given(taken, required):
    """Raises ValueError on flags of other commands, or required ones missing.

    Whoever imports one of a file's flags has them all.
    """
    known = {flag.name for flag in taken}
    for module, defined in FLAGS.flags_by_module_dict().items():
        for flag in defined if module.startswith(f"{_PACKAGE}.") else ():
            if flag.present and flag.name not in known:
                raise ValueError(f"Unknown command line flag '{flag.name}'.")
    for flag in required:
        if FLAGS[flag].value is None:
            raise ValueError(f"--{flag} must be given. Received: none.")


def _warning(message, category, *place, **line):
    """What is printed of a warning: of the user's own images, one line."""
    import tfbackdoor

    if issubclass(category, tfbackdoor.network.RangeWarning):
        return f"Warning: {message}\n"
    return _format(message, category, *place, **line)


def _output(name):
    if FLAGS.output:
        return pathlib.Path(FLAGS.output).absolute()
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return pathlib.Path("runs", f"{name}-{now}").absolute()


def _fail_interrupted(output, how, status, shared):
    kept = "nothing was written."
    if shared:
        kept = "the same command goes on."
    elif run_folder.has_checkpoints(output):
        kept = "the same command goes on from the last checkpoint."
    _fail(f"{how}; {kept}", status)


def _fail(message, status=1):
    print(f"error: {message}", file=sys.stderr)
    sys.exit(status)
