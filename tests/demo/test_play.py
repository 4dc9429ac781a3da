"""`station demo` as a person runs it: a whole session, and an end by Ctrl-C that leaves nothing behind."""

import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from services.demo.play import configuration
from services.station.paths import deploy_file
from tests.harness import free_port, wait_until

WAIT_S = 60.0


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "services.station.cli", "demo", *arguments]


def started(state_dir: Path) -> "subprocess.Popen[str]":
    """A demo that is read line by line."""
    arguments = command("--port", str(free_port()), "--state-dir", str(state_dir))
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)


def processes_with(text: str) -> list[str]:
    """Command lines of all processes that name the state directory."""
    found = []
    for name in os.listdir("/proc"):
        try:
            line = Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if name.isdigit() and text in line and " demo " not in line:
            found.append(f"{name} {line}")
    return found


def test_the_profile_gets_the_port() -> None:
    text = Path(deploy_file("profiles", "demo.toml")).read_text(encoding="utf-8")
    changed = tomllib.loads(configuration(text, 9123))
    assert changed["central_system"]["url"] == "ws://127.0.0.1:9123/"
    assert changed["station"] == tomllib.loads(text)["station"]


@pytest.mark.process
def test_a_session_is_played_and_comes_out_right(tmp_path: Path) -> None:
    """Issue 2, acceptance 1: `station demo --once` exits 0, and nothing survives it."""
    state_dir = tmp_path / ("a directory with spaces and a long name " * 4).strip()
    done = subprocess.run(
        command("--once", "--port", str(free_port()), "--state-dir", str(state_dir)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WAIT_S * 2,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    for words in ("is Preparing", "StartTransaction", "is Charging", "kW", "StopTransaction", "exactly what the virtual meter"):
        assert words in done.stdout
    assert "against the rules" not in done.stdout
    assert "\x1b" not in done.stdout, "no colours but on a terminal"
    assert all(len(line) <= 100 for line in done.stdout.splitlines() if str(state_dir) not in line)
    assert processes_with(str(state_dir)) == []


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_end_in_the_middle_leaves_nothing_behind(tmp_path: Path, number: int) -> None:
    with subprocess.Popen(
        command("--port", str(free_port()), "--state-dir", str(tmp_path)),
        stdout=subprocess.PIPE,
        text=True,
        stdin=subprocess.DEVNULL,
        # A test run in the background has SIGINT ignored, and would hand that down.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as demo:
        assert demo.stdout is not None
        wait_until(lambda: "Available" in str(demo.stdout.readline()), WAIT_S, "the station says something")
        assert processes_with(str(tmp_path))
        demo.send_signal(number)
        demo.stdout.read()
        assert demo.wait(WAIT_S) == 130
    assert processes_with(str(tmp_path)) == []


@pytest.mark.process
def test_a_killed_demo_takes_its_station_along(tmp_path: Path) -> None:
    with subprocess.Popen(
        command("--port", str(free_port()), "--state-dir", str(tmp_path)),
        stdout=subprocess.PIPE,
        text=True,
        stdin=subprocess.DEVNULL,
        # A test run in the background has SIGINT ignored, and would hand that down.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as demo:
        assert demo.stdout is not None
        wait_until(lambda: "Available" in str(demo.stdout.readline()), WAIT_S, "the station says something")
        demo.kill()
    wait_until(lambda: not processes_with(str(tmp_path)), WAIT_S, "all processes have ended")


@pytest.mark.process
def test_a_port_that_is_taken_is_said_in_plain_words(tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        arguments = command("--once", "--port", str(port), "--state-dir", str(tmp_path))
        done = subprocess.run(arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert done.returncode == 1
    assert f"cannot listen on port {port}" in done.stdout
