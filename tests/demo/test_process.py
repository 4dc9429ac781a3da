"""The Central System as a process: its book as a file, its switches on standard input."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from services.demo.central_system import CentralSystem
from services.demo.central_system_process import obey
from tests.demo.client import ANSWER_WAIT_S, BOOT, HandWritten
from tests.harness import free_port, wait_until


@pytest.fixture
def book(tmp_path: Path) -> Path:
    return tmp_path / "book.jsonl"


@pytest.fixture
def process(book: Path) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "services.demo.central_system", "--port", str(free_port()), "--book", str(book)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        yield running
        running.kill()


def said(process: "subprocess.Popen[str]", line: dict[str, Any]) -> Any:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(line) + "\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


@pytest.mark.process
def test_it_serves_obeys_and_keeps_its_book_in_a_file(process: "subprocess.Popen[str]", book: Path) -> None:
    assert process.stdout is not None
    url = process.stdout.readline().split()[-1]
    assert said(process, {"behaviour": {"registration": "Pending"}}) == {"ok": True}
    with connect(url + "CP-9", subprotocols=["ocpp1.6"]) as socket:
        socket.send(json.dumps([2, "1", "BootNotification", BOOT]))
        assert json.loads(socket.recv(timeout=ANSWER_WAIT_S))[2]["status"] == "Pending"
    wait_until(lambda: '"closed"' in book.read_text(), ANSWER_WAIT_S, "the end of the connection stands in the book")
    entries = [json.loads(line) for line in book.read_text().splitlines()]
    assert [entry["what"] for entry in entries] == ["opened", "received", "sent", "closed"]
    assert {entry["identity"] for entry in entries} == {"CP-9"}
    process.send_signal(signal.SIGTERM)
    assert process.wait(ANSWER_WAIT_S) == 0


@pytest.mark.process
def test_a_taken_port_is_said_in_one_line() -> None:
    with CentralSystem() as taken:
        command = [sys.executable, "-m", "services.demo.central_system", "--port", str(taken.port)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [done.stderr.strip()]
    assert str(taken.port) in done.stderr


def test_lines_set_switches_add_rules_and_send_calls() -> None:
    with CentralSystem() as central_system, HandWritten(central_system) as station:
        assert obey(central_system, '{"behaviour": {"interval_s": 9}}') == {"ok": True}
        assert obey(central_system, '{"rule": "call_error", "with": ["Heartbeat"]}') == {"ok": True}
        assert station.call("BootNotification", BOOT)[2]["interval"] == 9
        assert station.call("Heartbeat", {})[0] == 4


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "[]",
        "{}",
        '{"behaviour": {"interval": 9}}',
        '{"rule": "explode"}',
        '{"rule": "silence"}',
        '{"call": "Reset"}',
    ],
)
def test_a_line_that_makes_no_sense_is_answered(line: str) -> None:
    with CentralSystem() as central_system:
        assert "error" in obey(central_system, line)
