"""Broker and runtime as real processes over real sockets (design §§2, 3)."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from bus import sockets
from bus.calls import Reply
from bus.clock import boottime_ns, boottime_s
from bus.logs import logger, parse
from bus.messages import BrokerState, Message, ReaderState, RemoteStartTransaction, ServiceHealth
from bus.node import Node
from tests.harness import wait_until

pytestmark = pytest.mark.process
WAIT_S = 10.0


class Processes:
    """The processes of one state directory, and what they log."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> "subprocess.Popen[bytes]":
        """Start `broker`, or the probe of that name."""
        module = ["bus.broker"] if name == "broker" else ["tests.bus.probe_service", name]
        command = [sys.executable, "-m", *module, "--config", "unused.toml", "--state-dir", str(self.state_dir)]
        with open(self.state_dir / f"{name}.log", "ab") as log:
            self.running[name] = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL)
        return self.running[name]

    def lines(self, name: str) -> list[dict[str, str]]:
        """Every line of its log; each is strictly parseable."""
        return [parse(line) for line in (self.state_dir / f"{name}.log").read_text().splitlines()]

    def events(self, name: str) -> list[str]:
        """What its log tells of."""
        return [line["event"] for line in self.lines(name)]

    def end(self, name: str, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait; the exit code."""
        self.running[name].send_signal(number)
        return self.running[name].wait(WAIT_S)

    def kill_all(self) -> None:
        for process in self.running.values():
            process.kill()
            process.wait()


class Client:
    """This test on the bus, as the service `ocpp_link`."""

    def __init__(self) -> None:
        self.node = Node("ocpp_link", incarnation=boottime_ns(), now=boottime_s, log=logger("ocpp_link"))
        self.values: dict[tuple[type, str], Any] = {}
        for type_ in (BrokerState, ReaderState, ServiceHealth):
            self.node.watch(type_, self._remember)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._out, self._in = sockets.publisher(self._context), sockets.subscriber(self._context)
        for prefix in self.node.subscriptions():
            self._in.setsockopt(zmq.SUBSCRIBE, prefix)

    def _remember(self, key: str, value: Message) -> None:
        self.values[type(value), key] = value

    def turn(self) -> None:
        """One turn of a loop."""
        for frame in self.node.take_outgoing():
            self._out.send_multipart(frame)
        while self._in.poll(0):
            self.node.receive(self._in.recv_multipart())
        self.node.tick()

    def wait(self, type_: type[Message], key: str = "") -> Any:
        """The value of a state, as soon as there is one."""

        def arrived() -> Any:
            self.turn()
            return self.values.get((type_, key))

        return wait_until(arrived, WAIT_S, f"a {type_.__name__}")

    def call(self, id_tag: str = "A", timeout_s: float = 0.3) -> Reply:
        """Ask `connectors` something."""
        replies: list[Reply] = []
        self.node.call(RemoteStartTransaction(id_tag), timeout_s=timeout_s, on_reply=replies.append)

        def replied() -> list[Reply]:
            self.turn()
            return replies

        return wait_until(replied, WAIT_S, "a reply")[0]

    def answered(self) -> Any:
        """Ask until there is an answer, as every caller in the station would."""
        return wait_until(lambda: self.call().value, WAIT_S, "an answer")

    def close(self) -> None:
        self._out.close()
        self._in.close()
        self._context.term()


@pytest.fixture
def processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Processes]:
    (tmp_path / "run").mkdir(mode=0o700)
    # The probes are found from the root of the tree; the test works in the run directory, where the sockets are.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.chdir(tmp_path / "run")
    made = Processes(tmp_path)
    yield made
    made.kill_all()


@pytest.fixture
def client(processes: Processes) -> Iterator[Client]:  # noqa: ARG001
    made = Client()
    yield made
    made.close()


def test_a_late_subscriber_has_the_value_at_once(processes: Processes, client: Client) -> None:
    """Within a fraction of the period after which the owner would repeat it: from the broker's cache."""
    processes.start("broker")
    rfid = processes.start("rfid")
    first = client.wait(ReaderState)
    assert first.failure == f"process {rfid.pid}"
    os.kill(rfid.pid, signal.SIGSTOP)
    late = Client()
    try:
        assert late.wait(ReaderState) == first
    finally:
        late.close()
        os.kill(rfid.pid, signal.SIGCONT)


def test_start_order_does_not_matter(processes: Processes, client: Client) -> None:
    """Issue 2, acceptance 4: the broker last."""
    processes.start("rfid")
    processes.start("connectors")
    wait_until(lambda: "started" in processes.events("rfid"), WAIT_S, "rfid runs alone")
    processes.start("broker")
    assert client.wait(ReaderState)
    assert client.answered()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_after_the_brokers_death_states_and_calls_come_back(processes: Processes, client: Client, number: int) -> None:
    """Design §2, broker down: everything resynchronises when it is back."""
    processes.start("broker")
    processes.start("rfid")
    processes.start("connectors")
    client.wait(ReaderState)
    client.answered()
    processes.end("broker", number)
    assert client.call().timed_out
    second = processes.start("broker")
    client.values.clear()
    assert client.wait(ReaderState)
    wait_until(lambda: client.wait(BrokerState).pid == second.pid, WAIT_S, "the new broker is heard")
    assert client.answered()
    late = Client()
    try:
        assert late.wait(ReaderState), "the new broker's cache has filled again"
    finally:
        late.close()


def test_a_call_of_an_earlier_brokers_time_is_not_acted_on(processes: Processes, client: Client) -> None:
    processes.start("broker")
    connectors = processes.start("connectors")
    client.answered()
    processes.end("broker", signal.SIGKILL)
    assert client.call("raise", timeout_s=0.2).timed_out
    processes.start("broker")
    assert client.answered().reason == str(connectors.pid), "the service that would have broken still runs"


def test_a_restarted_service_replaces_its_state(processes: Processes, client: Client) -> None:
    processes.start("broker")
    processes.start("rfid")
    client.wait(ReaderState)
    processes.end("rfid", signal.SIGKILL)
    second = processes.start("rfid")
    wait_until(
        lambda: client.wait(ReaderState).failure.endswith(str(second.pid)) or client.turn(), WAIT_S, "the new process's state"
    )


def test_health_says_pid_version_and_problems(processes: Processes, client: Client) -> None:
    processes.start("broker")
    rfid = processes.start("rfid")
    health = client.wait(ServiceHealth, "rfid")
    assert (health.pid, [problem.text for problem in health.problems]) == (rfid.pid, ["a problem that people see"])
    assert client.wait(ServiceHealth, "broker").pid == processes.running["broker"].pid


def test_a_handler_that_raises_ends_the_process_with_a_clear_line(processes: Processes, client: Client) -> None:
    processes.start("broker")
    connectors = processes.start("connectors")
    client.answered()
    client.call("raise")
    assert connectors.wait(WAIT_S) == 1
    (line,) = [line for line in processes.lines("connectors") if "ends because" in line["event"]]
    assert (line["level"], line["reason"]) == ("error", "ValueError('a mistake of ours')")
    assert "traceback" in processes.lines("connectors")[-1]


def test_a_service_that_cannot_be_built_says_why(processes: Processes) -> None:
    meter = processes.start("meter")
    assert meter.wait(WAIT_S) == 1
    assert "no meter without its file" in str(processes.lines("meter"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("name", ["broker", "connectors"])
def test_a_signal_ends_a_process_in_good_order(processes: Processes, client: Client, name: str, number: int) -> None:
    """Within a second, says the design; here only that it ends, and well."""
    processes.start("broker")
    processes.start("connectors")
    client.answered()
    assert processes.end(name, number) == 0
    assert processes.events(name)[-1] == "stopped"
    if name == "connectors":
        assert "closed in good order" in processes.events(name)


def test_a_service_without_a_broker_ends_as_well(processes: Processes) -> None:
    processes.start("connectors")
    wait_until(lambda: "started" in processes.events("connectors"), WAIT_S, "it runs")
    assert processes.end("connectors") == 0


def test_a_second_one_of_the_same_name_refuses_to_run(processes: Processes) -> None:
    first = processes.start("rfid")
    wait_until(lambda: "started" in processes.events("rfid"), WAIT_S, "the first runs")
    second = processes.start("rfid")
    assert second.wait(WAIT_S) == 1
    (line,) = [line for line in processes.lines("rfid") if "runs already" in line["event"]]
    assert str(first.pid) in line["reason"]
    assert first.poll() is None
    first.kill()
    first.wait()


def test_garbage_on_the_sockets_ends_nobody(processes: Processes, client: Client) -> None:
    """Issue 2, bad input: the next good message works."""
    processes.start("broker")
    processes.start("connectors")
    client.answered()
    for frames in (
        [b"call.connectors.remote_start_transaction.", b"\xc1"],
        [b"call.connectors.remote_start_transaction."],
        [b""],
        [b"connector.status.1.", b"", b"", b""],
        [os.urandom(500), os.urandom(500)],
    ):
        client._out.send_multipart(frames)
    assert client.answered()
    assert processes.running["broker"].poll() is None
    assert processes.running["connectors"].poll() is None


def test_a_burst_larger_than_zmqs_own_marks_loses_nothing(processes: Processes, client: Client) -> None:
    """Design §3: with the default marks of 1,000 a burst of 50,000 silently lost 8,000 and more."""
    count = 50_000
    processes.start("broker")
    client._in.setsockopt(zmq.SUBSCRIBE, b"rfid.presented.")
    client.wait(BrokerState)
    wait_until(lambda: client._out.poll(20), WAIT_S, "the broker takes what we publish")
    for number in range(count):
        client._out.send_multipart([b"rfid.presented.", str(number).encode()])
    got: list[int] = []

    def all_arrived() -> bool:
        while client._in.poll(0):
            name, body = client._in.recv_multipart()
            if name == b"rfid.presented.":
                got.append(int(body))
        return len(got) >= count

    wait_until(all_arrived, WAIT_S, "the whole burst")
    assert got == list(range(count))


def test_the_run_directory_is_made_for_its_owner_alone(processes: Processes, tmp_path: Path) -> None:
    processes.state_dir = tmp_path / "another"
    processes.state_dir.mkdir()
    processes.start("broker")
    run = processes.state_dir / "run"
    wait_until((run / "bus-in.sock").exists, WAIT_S, "the sockets")
    assert run.stat().st_mode & 0o777 == 0o700
