"""What `import tfbackdoor` needs and does not need."""

import subprocess
import sys

# Keras takes Matplotlib and scikit-learn where it finds them, so what must
# not be needed is hidden, not looked for afterwards. Windows has no fcntl.
_PROGRAM = """
import sys
hidden = ("matplotlib", "jinja2", "tensorflow_datasets")
unix = ("fcntl", "resource", "pwd", "grp")
sys.modules |= dict.fromkeys(hidden + unix)
import tfbackdoor
assert "tfbackdoor.benchmark" not in sys.modules
"""


def test_importing_needs_nothing_that_draws_or_is_of_unix_alone():
    result = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-2000:]
