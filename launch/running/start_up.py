"""Imports TensorFlow without its start-up messages."""

import contextlib
import os
import subprocess
import sys
import warnings

from absl import flags
from absl import logging

FLAGS = flags.FLAGS
_DONE = b"\0"
# Ends with the process that writes to it, however that ends.
_KEEPER = f"""
import sys
text = sys.stdin.buffer.read()
if not text.endswith({_DONE!r}):
    sys.stderr.buffer.write(text)
"""


def start_tensorflow() -> None:
    """Imports TensorFlow and finds its devices, as the flags have it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", message=".*shuffle=True.*")
    logging.set_verbosity(logging.ERROR)
    # It writes to the descriptor before any log level applies.
    with standard_error_kept_back():
        import tensorflow as tf

        tf.get_logger().setLevel("ERROR")
        if FLAGS.deterministic:
            tf.config.experimental.enable_op_determinism()
        if "TF_CONFIG" in os.environ:
            import tfbackdoor

            tfbackdoor.make_strategy(FLAGS.strategy)  # Before any tensor.
        tf.config.list_logical_devices()


@contextlib.contextmanager
def standard_error_kept_back():
    """A context whose standard error is shown only where it ends badly.

    By an exception or by the end of the process: an abort in CUDA says why in
    its last lines. A process of its own keeps them.
    """
    stderr = os.dup(2)
    keeper = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _KEEPER],
        stdin=subprocess.PIPE,
        stderr=stderr,
        start_new_session=True,  # No Ctrl-C of ours ends it.
    )
    os.dup2(keeper.stdin.fileno(), 2)
    try:
        yield
        os.write(2, _DONE)
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        keeper.communicate()
