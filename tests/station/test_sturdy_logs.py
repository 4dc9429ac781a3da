"""No log file that can't be written ends supervisord, and with it the station."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os, sys
from supervisor import loggers
from services.station.sturdy_logs import make_sturdy
if sys.argv[1] == "sturdy":
    make_sturdy()
os.dup2(os.open("/dev/full", os.O_WRONLY), 2)
handler = loggers.RotatingFileHandler("/dev/full", "ab", 1000, 2)
for number in range(100):
    handler.emit(loggers.LogRecord(20, b"a line of a child\\n" * 100))
print("still here", flush=True)
"""


def child(how: str) -> subprocess.CompletedProcess[str]:
    """Logs into a full disk, with standard error on it too."""
    return subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, timeout=30, check=False)


def test_a_full_disk_ends_nobody() -> None:
    """supervisord as it comes does not survive its own complaint: that is what this is for."""
    assert child("sturdy").stdout == "still here\n"
    assert child("as it comes").stdout == ""


def test_after_a_rotation_that_failed_the_file_is_opened_again(tmp_path: Path) -> None:
    script = (
        PROGRAM.split("os.dup2")[0]
        + f"""
log = {str(tmp_path / "a.log")!r}
handler = loggers.RotatingFileHandler(log, "ab", 10, 2)
opened = open
def refuse(*_):
    raise OSError(28, "No space left on device")
handler._rename = refuse
handler.emit(loggers.LogRecord(20, b"more than ten bytes\\n"))
del handler._rename
handler.emit(loggers.LogRecord(20, b"the next line\\n"))
"""
    )
    done = subprocess.run([sys.executable, "-c", script, "sturdy"], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    kept = "".join((tmp_path / name).read_text() for name in sorted(os.listdir(tmp_path), reverse=True))
    assert kept == "more than ten bytes\nthe next line\n"
