"""Files: reading bytes of strangers, and writing whole or not at all.

Nothing is unpickled, no code in a file is run, and memory is taken in
proportion to a file's size.
"""

from tfbackdoor.files.arrays import read_arrays
from tfbackdoor.files.atomic import write_json
from tfbackdoor.files.claims import claim
from tfbackdoor.files.fingerprints import fingerprint_file
from tfbackdoor.files.fingerprints import fingerprint_images
from tfbackdoor.files.safetensors import read_safetensors

__all__ = [
    "claim",
    "fingerprint_file",
    "fingerprint_images",
    "read_arrays",
    "read_safetensors",
    "write_json",
]
