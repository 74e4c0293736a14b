"""What every launcher does around its job: flags, quiet, folder, errors."""

import datetime
import os
import pathlib
import sys
import warnings

from absl import app
from absl import flags
from absl import logging

from launch import folder
from launch import record

flags.DEFINE_string(
    "output",
    None,
    "New or empty folder for everything made; default runs/NAME-DATE-TIME. A "
    "run with --output that was killed goes on with the same command.",
)
flags.DEFINE_integer("seed", 0, "Seed of every random choice.")
flags.DEFINE_bool(
    "deterministic",
    False,
    "Whether two runs on the same machine give equal bytes; costs time.",
)
flags.DEFINE_enum(
    "strategy",
    "auto",
    ["auto", "one_device", "mirrored", "multi_worker", "tpu"],
    "One device, all GPUs of the machine (all logical CPUs where there is "
    "none), the machines of TF_CONFIG, or a TPU; auto takes the machines where "
    "TF_CONFIG names several, the GPUs where there are several.",
)
flags.DEFINE_bool(
    "synchronised",
    True,
    "Whether batch statistics are those of the whole batch, or each device's.",
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
_STOPPED = 75  # EX_TEMPFAIL of sysexits.h: another try may succeed.


def run(job, name: str, *, shared: bool = False) -> None:
    """Runs `job(folder)` as an absl app.

    The folder is written beside `--output` and renamed to it when the job has
    ended well; it is removed when the job fails. An error is printed as one
    sentence and the exit status is 1, after SIGTERM 75, after SIGINT 130.

    Args:
        job: function of the `pathlib.Path` of the folder to write to.
        name: str, the launcher's name.
        shared: whether the job gets `--output` as it is, which may hold what
            it or another process wrote before, and sees to its files itself.
    """

    def main(argv):
        if len(argv) > 1:
            _fail(f"Expected only flags. Received: {' '.join(argv[1:])}")
        try:
            _quiet_tensorflow()
        except ValueError as error:
            _fail_by(error)
        from tfbackdoor.training import checkpoints

        output = _output(name)
        make_folder = folder.shared_folder if shared else folder.run_folder
        try:
            with (
                make_folder(output, name, _launcher_flags()) as made,
                folder.ended_by_sigterm(),
            ):
                job(made)
        except KeyboardInterrupt:
            _fail_interrupted(output, "Interrupted", 130, shared)
        except checkpoints.Stopped:
            _fail_interrupted(output, "Stopped by SIGTERM", _STOPPED, shared)
        except Exception as error:  # The user gets a sentence, not a trace.
            if FLAGS.traceback:
                raise
            _fail_by(error)

    for flag in _launcher_flags():
        FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    sys.modules["__main__"].__doc__ = sys.modules[job.__module__].__doc__
    app.run(main, flags_parser=_parse)


def _parse(argv):
    try:
        record.take_flags(argv)
    except ValueError as error:
        _fail(error)
    return app.parse_flags_with_usage(argv)


write_json = record.write_json


def precision() -> str:
    """The precision asked for, or the device's best; says which."""
    import tfbackdoor

    chosen = FLAGS.mixed_precision
    if chosen == "auto":
        chosen = tfbackdoor.network.default_precision()
    print(f"Precision of forward passes: {chosen}")
    return chosen


def _fail_interrupted(output, how, status, shared):
    kept = "nothing was written."
    if shared:
        kept = "the same command goes on."
    elif folder.has_checkpoints(output):
        kept = "the same command goes on from the last checkpoint."
    _fail(f"{how}; {kept}", status)


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

        tf.get_logger().setLevel("ERROR")
        if FLAGS.deterministic:
            tf.config.experimental.enable_op_determinism()
        if "TF_CONFIG" in os.environ:
            from tfbackdoor.network import devices

            devices.make_strategy(FLAGS.strategy)  # Before any tensor.
        tf.config.list_logical_devices()
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _fail_by(error):
    """Ends with what is wrong in one sentence."""
    from tfbackdoor import errors

    _fail(errors.sentence(error))


def _fail(message, status=1):
    print(f"error: {message}", file=sys.stderr)
    sys.exit(status)
