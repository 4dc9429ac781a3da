"""For all tests: temporary files live in memory where the machine has a place for it.

Every commit of ours waits for the disk, and thousands of them would make the tests wait for nothing: what a power cut leaves
on a disk is shown elsewhere, at the file level. Whoever sets TMPDIR keeps it.
"""

import os
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")
FREE_BYTES_MIN = 1_000_000_000

if "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK):
    sizes = os.statvfs(MEMORY)
    if sizes.f_bavail * sizes.f_frsize >= FREE_BYTES_MIN:
        os.environ["TMPDIR"] = str(MEMORY)
        tempfile.tempdir = None
