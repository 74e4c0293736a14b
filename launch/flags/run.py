"""Flags that every command takes."""

from absl import flags

flags.DEFINE_string(
    "output",
    None,
    "New or empty folder for everything made; default runs/NAME-DATE-TIME. A "
    "run with --output that was killed goes on with the same command.",
)
flags.DEFINE_integer("seed", 0, "Seed of every random choice.", 0, 2**32 - 1)
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
flags.DEFINE_enum(
    "mixed_precision",
    "auto",
    ["auto", "float32", "mixed_bfloat16"],
    "Arithmetic of the forward passes; weights stay float32. auto takes "
    "bfloat16 where the device multiplies it natively.",
)
flags.DEFINE_float(
    "checkpoint_seconds",
    60.0,
    "Seconds between checkpoints, which only a run with --output saves.",
    0.0,
)
flags.DEFINE_string(
    "repeat",
    None,
    "Folder of an earlier run, to run again: its flags are taken and its data "
    "and files must be the same. --output alone, and flags that change no "
    "result, may be given beside it.",
)
flags.DEFINE_bool("smoke", False, "Runs the same path in seconds, in small.")
flags.DEFINE_bool("traceback", False, "Shows the traceback of an error.")

FLAGS = flags.FLAGS


def precision() -> str:
    """The precision asked for, or the device's best; says which."""
    import tfbackdoor

    chosen = FLAGS.mixed_precision
    if chosen == "auto":
        chosen = tfbackdoor.network.default_precision()
    print(f"Precision of forward passes: {chosen}")
    return chosen
