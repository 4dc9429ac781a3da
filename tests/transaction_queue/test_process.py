"""The queue as a process of its own: it starts alone, keeps its database, and ends in good order (issue 2, acceptance 4)."""

import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROFILE = ROOT / "deploy" / "profiles" / "default.toml"


def until(condition, process: subprocess.Popen) -> None:
    """Wait for a condition, with a deadline; a process that ends meanwhile has failed."""
    deadline_s = time.monotonic() + 20
    while not condition():
        assert process.poll() is None, "the service has ended"
        assert time.monotonic() < deadline_s, "the condition did not come true"


def tables(path: Path) -> set[str]:
    if not path.exists():
        return set()
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)
    try:
        return {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
    except sqlite3.OperationalError:
        return set()
    finally:
        database.close()


@pytest.mark.process
def test_the_queue_starts_alone_and_ends_on_sigterm(tmp_path):
    """No broker, no link, no configuration database: it works with defaults."""
    command = [sys.executable, "-m", "services.transaction_queue", "--config", str(PROFILE), "--state-dir", str(tmp_path)]
    with open(tmp_path / "log", "w+") as log:
        process = subprocess.Popen([*command, "--virtual"], cwd=ROOT, stderr=log)
        try:
            until(lambda: "journal_in" in tables(tmp_path / "transactions.db"), process)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=10) == 0
        finally:
            process.kill()
            process.wait()
    lines = (tmp_path / "log").read_text()
    assert "started" in lines
    assert "stopped" in lines
    assert "level=error" not in lines
