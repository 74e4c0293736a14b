"""What every launcher does around its job: flags, quiet, folder, errors."""

import contextlib
import datetime
import json
import os
import pathlib
import shutil
import sys
import warnings

from absl import app
from absl import flags
from absl import logging

flags.DEFINE_string(
    "output",
    None,
    "New or empty folder for everything made; default runs/NAME-DATE-TIME.",
)
flags.DEFINE_integer("seed", 0, "Seed of every random choice.")
flags.DEFINE_enum(
    "strategy",
    "auto",
    ["auto", "one_device", "mirrored"],
    "One device, or tf.distribute.MirroredStrategy over all GPUs (all logical "
    "CPUs where there is none); auto mirrors where there are several GPUs.",
)
flags.DEFINE_enum(
    "mixed_precision",
    "auto",
    ["auto", "float32", "mixed_bfloat16"],
    "Arithmetic of the forward passes; weights stay float32. auto takes "
    "bfloat16 where the device multiplies it natively.",
)
flags.DEFINE_bool("smoke", False, "Runs the same path in seconds, in small.")
flags.DEFINE_bool("traceback", False, "Shows the traceback of an error.")

FLAGS = flags.FLAGS


def run(job, name: str, *, resumable: bool = False) -> None:
    """Runs `job(folder)` as an absl app.

    The folder is written beside `--output` and renamed to it when the job has
    ended well; it is removed when the job fails. An error is printed as one
    sentence and the exit status is 1.

    Args:
        job: function of the `pathlib.Path` of the folder to write to.
        name: str, the launcher's name.
        resumable: whether the job gets `--output` as it is, which may hold
            what it wrote before, and sees to its files itself.
    """

    def main(argv):
        if len(argv) > 1:
            _fail(f"Expected only flags. Received: {' '.join(argv[1:])}")
        _quiet_tensorflow()
        try:
            make_folder = _own_folder if resumable else _run_folder
            with make_folder(_output(name)) as folder:
                job(folder)
        except KeyboardInterrupt:
            left = "the same command goes on"
            if not resumable:
                left = "nothing was written"
            _fail(f"Interrupted; {left}.", status=130)
        except Exception as error:  # The user gets a sentence, not a trace.
            if FLAGS.traceback:
                raise
            _fail(_sentence(error))

    for flag in _launcher_flags():
        FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    sys.modules["__main__"].__doc__ = sys.modules[job.__module__].__doc__
    app.run(main)


def write_json(path: pathlib.Path, content) -> None:
    """Writes `content` as indented JSON."""
    path.write_text(json.dumps(content, indent=2) + "\n")


def precision() -> str:
    """The precision asked for, or the device's best; says which."""
    import tfbackdoor

    chosen = FLAGS.mixed_precision
    if chosen == "auto":
        chosen = tfbackdoor.default_precision()
    print(f"Precision of forward passes: {chosen}")
    return chosen


@contextlib.contextmanager
def _run_folder(output):
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(
            f"--output must be a new or empty folder. Received: {output}"
        )
    partial = output.with_name(f".{output.name}.partial-{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        write_json(
            partial / "flags.json",
            {flag.name: flag.value for flag in _launcher_flags()},
        )
        yield partial
        if output.exists():
            output.rmdir()
        partial.rename(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(f"Everything is in {output}")


@contextlib.contextmanager
def _own_folder(output):
    yield output
    print(f"Everything is in {output}")


def _output(name):
    if FLAGS.output:
        return pathlib.Path(FLAGS.output).absolute()
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return pathlib.Path("runs", f"{name}-{now}").absolute()


def _launcher_flags():
    """All flags of the launcher, wherever it was started from."""
    return [
        flag
        for module, defined in FLAGS.flags_by_module_dict().items()
        if module == sys.argv[0] or module.startswith("launch.")
        for flag in defined
    ]


def _quiet_tensorflow():
    """Imports TensorFlow without its start-up messages."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", message=".*shuffle=True.*")
    logging.set_verbosity(logging.ERROR)
    # TensorFlow writes to the descriptor before any log level applies.
    stderr = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        import tensorflow as tf

        tf.config.list_logical_devices()
        tf.get_logger().setLevel("ERROR")
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _sentence(error):
    lines = [line for line in str(error).splitlines() if line.strip()]
    text = lines[0].strip() if lines else type(error).__name__
    known = isinstance(error, (ValueError, TypeError))
    return text if known else f"{type(error).__name__}: {text}"


def _fail(message, status=1):
    print(f"error: {message}", file=sys.stderr)
    sys.exit(status)
