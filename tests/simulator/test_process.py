"""The virtual hardware as a process: through its ports with other people's libraries, and through its control socket."""

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import minimalmodbus
import pytest
import serial

from services.simulator.client import SimulatorUnreachable, request

pytestmark = pytest.mark.process

CONFIG = """
[supply]
max_current_a = 32
phases = 3
voltage_v = 230

[reader]
driver = "rdm6300"

[[connector]]
id = 1
cable = "fixed"
evse = { driver = "openevse" }
meter = { driver = "sdm630" }

[[connector]]
id = 2
cable = "socket"
evse = { driver = "openevse" }
meter = { driver = "sdm120", unit = 7 }
"""
FRAME = b"\x020100CDA4EC84\x03"
_WAIT_S = 20.0


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    """The first true value of `condition`."""
    deadline_s = time.monotonic() + _WAIT_S
    pause = threading.Event()
    while not (value := condition()):
        assert time.monotonic() < deadline_s, f"not in time: {what}"
        pause.wait(0.02)
    return value


class Simulator:
    """A running process and what one does with it."""

    def __init__(self, state_dir: Path, config: str = CONFIG) -> None:
        self.state_dir = state_dir
        state_dir.mkdir(parents=True, exist_ok=True)
        self.config = state_dir / "station.toml"
        self.config.write_text(config)
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Simulator":
        try:
            self.start()
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None and self.running:
                assert self.end() == 0
        finally:
            self._kill()

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        with open(self.state_dir / "simulator.log", "ab") as log:
            self.process = subprocess.Popen(self.command(), stderr=log)
        wait_until(self._is_ready, "the virtual hardware is ready")

    def command(self) -> list[str]:
        options = ["--config", str(self.config), "--state-dir", str(self.state_dir), "--virtual"]
        return [sys.executable, "-W", "error", "-m", "services.simulator", *options]

    def ask(self, command: str, *args: str) -> dict[str, Any]:
        return request(str(self.state_dir), command, list(args))

    def do(self, command: str, *args: str) -> None:
        assert self.ask(command, *args) == {"ok": True}

    def state(self) -> dict[str, Any]:
        return dict(self.ask("state")["state"])

    def connector(self, number: int = 1) -> dict[str, Any]:
        return dict(self.state()["connectors"][str(number)])

    def device(self, name: str) -> Path:
        return self.state_dir / "dev" / name

    @contextlib.contextmanager
    def port(self, name: str) -> Iterator[serial.Serial]:
        with serial.Serial(str(self.device(name)), 115200, timeout=2.0, exclusive=True) as port:
            yield port

    @contextlib.contextmanager
    def meter(self, name: str = "meter-1", unit: int = 1) -> Iterator[minimalmodbus.Instrument]:
        instrument = minimalmodbus.Instrument(str(self.device(name)), unit)
        instrument.serial.timeout = 1.0
        try:
            yield instrument
        finally:
            instrument.serial.close()

    def ledger(self) -> list[dict[str, Any]]:
        text = (self.state_dir / "hardware" / "ledger.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def end(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None, "it was started"
        self.process.send_signal(number)
        return self.process.wait(_WAIT_S)

    def _kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def _is_ready(self) -> bool:
        assert self.running, (self.state_dir / "simulator.log").read_text()
        try:
            return bool(self.ask("ready")["ok"])
        except SimulatorUnreachable:
            return False


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[Simulator]:
    """One process for a test; it must end well and have nothing to complain of."""
    with Simulator(tmp_path / "state") as made:
        yield made
    log = (made.state_dir / "simulator.log").read_text()
    assert not [line for line in log.splitlines() if "level=info" not in line]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """One process for tests that only ask."""
    with Simulator(tmp_path_factory.mktemp("simulator") / "state") as made:
        yield made


def rapi(port: serial.Serial, line: str) -> str:
    """Send one line; its reply, and not what the controller says unasked."""
    port.write(line.encode() + b"\r")
    while True:
        reply = bytes(port.read_until(b"\r")).decode().strip("\r")
        assert reply, f"no reply to {line}"
        if reply[1:3] in ("OK", "NK"):
            return reply


def test_a_session_seen_through_all_ports(simulator: Simulator) -> None:
    with simulator.port("evse-1") as evse, simulator.meter() as meter, simulator.port("reader") as reader:
        assert rapi(evse, "$FS^31") == "$OK^20"
        simulator.do("plug-in", "1")
        wait_until(lambda: rapi(evse, "$GS^30").startswith("$OK fe 0 02 0100"), "the controller sees the car")
        simulator.do("swipe", "0100cda4ec")
        assert reader.read(len(FRAME)) == FRAME
        assert rapi(evse, "$SC 16 V^65") == "$OK 16^07"
        assert rapi(evse, "$FE^27") == "$OK^20"
        wait_until(lambda: rapi(evse, "$GS^30").startswith("$OK 03 "), "the car charges")
        wait_until(lambda: meter.read_float(0x0034, functioncode=4) == 11040.0, "the meter sees three times 16 A")
        wait_until(lambda: meter.read_float(0x0048, functioncode=4) > 0.003, "the meter counts")
        simulator.do("plug-out", "1")
        wait_until(lambda: rapi(evse, "$GS^30").startswith("$OK 01 "), "the controller sees that the car left")
        final_kwh = meter.read_float(0x0048, functioncode=4)
    connector = simulator.connector()
    assert connector["meter"]["shown_wh"] == round(final_kwh * 1000)
    assert [change for _, change in connector["relay"]["history"]] == ["closed", "opened"]
    kinds = [entry["kind"] for entry in simulator.ledger()]
    assert kinds == ["plugged", "swiped", "relay-closed", "unplugged", "relay-opened"]
    assert simulator.ledger()[-1]["register_wh"] == connector["meter"]["register_wh"]


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("$GV^35", "$OK 8.2.3 5.2.1^2F"),
        ("$GV :0a", "$OK 8.2.3 5.2.1 :0A^44"),
        ("$GV^00", "$NK^21"),
        ("$GC^20", "$OK 6 32 32 32^17"),
        ("$XX", "$NK^21"),
    ],
)
def test_the_controller_answers_byte_for_byte(shared: Simulator, line: str, reply: str) -> None:
    with shared.port("evse-2") as evse:
        assert rapi(evse, line) == reply


def test_an_independent_client_reads_both_meters(shared: Simulator) -> None:
    with shared.meter("meter-1", 1) as three, shared.meter("meter-2", 7) as one:
        assert [three.read_float(address, functioncode=4) for address in (0, 2, 4, 0x46)] == [230.0, 230.0, 230.0, 50.0]
        assert [one.read_float(address, functioncode=4) for address in (0, 2, 0x46)] == [230.0, 0.0, 50.0]
        assert three.read_long(0xFC00) == shared.connector(1)["meter"]["serial"]
        assert one.read_long(0xFC00) == shared.connector(2)["meter"]["serial"]
        with pytest.raises(minimalmodbus.IllegalRequestError):
            three.read_float(0x9000, functioncode=4)
    with shared.meter("meter-1", 2) as stranger, pytest.raises(minimalmodbus.NoResponseError):
        stranger.read_float(0, functioncode=4)


@pytest.mark.parametrize(
    ("command", "args", "reason"),
    [
        ("plug-in", ["3"], "there is no connector '3'; there is 1, 2"),
        ("plug-in", ["one"], "there is no connector 'one'; there is 1, 2"),
        ("plug-in", [], "write it as: plug-in N"),
        ("plug-out", ["1", "2"], "write it as: plug-out N"),
        ("fault", ["1", "fire"], "there is no fault 'fire'; there are diode, gfci,"),
        ("clear-fault", ["1", ""], "there is no fault ''"),
        ("fault", ["1", "lock"], "connector 1 has a fixed cable and no lock"),
        ("ev-max", ["1", "many"], "AMPS is 'many'; it must be a number from 0 to 80"),
        ("ev-max", ["1", "-1"], "AMPS is '-1'"),
        ("set-meter", ["1", "nan"], "WH is 'nan'"),
        ("set-meter", ["1", "1e99"], "WH is '1e99'"),
        ("estop", ["maybe"], "write it as: estop on|off"),
        ("swipe", ["x" * 21], "'xxxxxxxxxxxxxxxxxxxxx' is no tag"),
        ("unplug-device", ["evse", "9"], "there is no device 'evse 9'; there is evse 1, meter 1, evse 2, meter 2, reader"),
        ("unplug-device", ["reader", "1"], "there is no device 'reader 1'"),
        ("dance", [], "there is no command 'dance'; there are ready, plug-in,"),
    ],
)
def test_a_command_that_makes_no_sense_is_refused_with_what_is_allowed(
    shared: Simulator, command: str, args: list[str], reason: str
) -> None:
    answer = shared.ask(command, *args)
    assert answer["ok"] is False
    assert answer["reason"].startswith(reason)
    assert "\n" not in answer["reason"]


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"{\n",
        b"[]\n",
        b"1\n",
        b'{"command": 1}\n',
        b'{"command": "ready", "args": [1]}\n',
        b"\xff\n",
        b"[" * 9000 + b"\n",
    ],
)
def test_nonsense_on_the_control_socket_gets_a_reason(shared: Simulator, line: bytes) -> None:
    with connected(shared) as connection:
        connection.sendall(line + b'{"command": "ready"}\n')
        with connection.makefile("rb") as answers:
            assert json.loads(answers.readline())["ok"] is False
            assert json.loads(answers.readline()) == {"ok": True}


def test_an_endless_line_ends_the_conversation_only(shared: Simulator) -> None:
    with connected(shared) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(b"x" * 100_000)
        with connection.makefile("rb") as answers:
            assert json.loads(answers.readline())["ok"] is False
    shared.do("ready")


def test_the_socket_is_for_its_user_only(shared: Simulator) -> None:
    mode = (shared.state_dir / "run" / "simulator.sock").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_repeating_a_command_is_no_error(simulator: Simulator) -> None:
    for command in (["plug-in", "1"], ["fault", "1", "gfci"], ["clear-fault", "1", "gfci"], ["plug-out", "1"]):
        simulator.do(*command)
        simulator.do(*command)
    assert [entry["kind"] for entry in simulator.ledger() if "relay" not in entry["kind"]] == [
        "plugged",
        "fault",
        "fault-cleared",
        "unplugged",
    ]


def test_the_car_obeys_the_hands(simulator: Simulator) -> None:
    def drawn() -> float:
        return float(simulator.connector()["car"]["drawing_a"])

    simulator.do("ev-max", "1", "10.5")
    simulator.do("plug-in", "1")
    wait_until(lambda: drawn() == 10.5, "it draws its maximum")
    for end, begin in (("ev-pause", "ev-resume"), ("ev-full", "ev-resume")):
        simulator.do(end, "1")
        wait_until(lambda: drawn() == 0.0, f"{end} ends the flow")
        simulator.do(begin, "1")
        wait_until(lambda: drawn() == 10.5, f"{begin} starts it")
    for command, holds in (("ev-hold", True), ("ev-resume", False)):
        simulator.do(command, "1")
        assert simulator.connector()["car"]["holds_on"] is holds


@pytest.mark.parametrize("device", ["evse-1", "meter-1", "reader"])
def test_a_vanished_adapter_is_noticed_and_comes_back(simulator: Simulator, device: str) -> None:
    words = device.split("-")
    with simulator.port(device) as port:
        simulator.do("unplug-device", *words)
        assert not simulator.device(device).is_symlink()
        assert simulator.state()["devices"][device] is False
        with pytest.raises((serial.SerialException, OSError)):
            port.read(1)
    simulator.do("unplug-device", *words)
    simulator.do("replug-device", *words)
    simulator.do("replug-device", *words)
    if device == "evse-1":
        with simulator.port(device) as port:
            assert rapi(port, "$GV^35") == "$OK 8.2.3 5.2.1^2F"
    elif device == "meter-1":
        with simulator.meter() as meter:
            assert meter.read_float(0, functioncode=4) == 230.0
    else:
        with simulator.port(device) as port:
            simulator.do("swipe", "0100CDA4EC")
            assert port.read(len(FRAME)) == FRAME


def test_a_card_at_an_unplugged_reader_is_refused(simulator: Simulator) -> None:
    simulator.do("unplug-device", "reader")
    assert simulator.ask("swipe", "A")["reason"] == "the reader is unplugged; use replug-device reader first"


def test_the_controller_lives_on_while_its_adapter_is_away(simulator: Simulator) -> None:
    simulator.do("plug-in", "1")
    wait_until(lambda: simulator.connector()["car"]["drawing_a"] == 16.0, "the car charges")
    simulator.do("unplug-device", "evse", "1")
    simulator.do("replug-device", "evse", "1")
    assert simulator.connector()["relay"]["opened_count"] == 0


def test_a_driver_may_close_and_open_its_port(simulator: Simulator) -> None:
    for _ in range(3):
        with simulator.port("evse-1") as evse:
            assert rapi(evse, "$GV^35") == "$OK 8.2.3 5.2.1^2F"


def test_a_fault_opens_the_relay_and_shows_in_the_state(simulator: Simulator) -> None:
    simulator.do("plug-in", "1")
    wait_until(lambda: simulator.connector()["relay"]["closed"], "the car charges")
    simulator.do("fault", "1", "overtemp")
    connector = simulator.connector()
    assert (connector["controller"]["state"], connector["controller"]["faults"]) == ("0A", ["overtemp"])
    assert not connector["relay"]["closed"]
    simulator.do("clear-fault", "1", "overtemp")
    wait_until(lambda: simulator.connector()["relay"]["closed"], "the car charges again")


def test_the_emergency_stop_is_a_file_with_one_digit(simulator: Simulator) -> None:
    path = simulator.state_dir / "hardware" / "estop"
    assert path.read_text() == "0"
    simulator.do("estop", "on")
    assert (path.read_text(), simulator.state()["estop"]) == ("1", True)
    simulator.do("estop", "off")
    assert (path.read_text(), simulator.state()["estop"]) == ("0", False)


def test_each_start_is_a_power_up_but_meter_and_eeprom_remember(simulator: Simulator) -> None:
    simulator.do("set-meter", "1", "12345678.9")
    serial_number = simulator.connector()["meter"]["serial"]
    with simulator.port("evse-1") as evse:
        assert rapi(evse, "$SC 20") == "$OK 20^02"
        rapi(evse, "$FS^31")
    simulator.do("plug-in", "2")
    simulator.do("fault", "2", "gfci")
    simulator.do("estop", "on")
    assert simulator.end() == 0
    simulator.start()
    state = simulator.state()
    assert state["estop"] is False
    assert (simulator.state_dir / "hardware" / "estop").read_text() == "0"
    first, second = state["connectors"]["1"], state["connectors"]["2"]
    assert (first["meter"]["register_wh"], first["meter"]["serial"]) == (12345678.9, serial_number)
    assert (first["controller"]["enabled"], first["controller"]["pilot_a"]) == (True, 20)
    assert (second["car"]["plugged"], second["controller"]["faults"]) == (False, [])


def test_a_meter_never_shows_less_after_a_kill_in_mid_session(simulator: Simulator) -> None:
    simulator.do("plug-in", "1")
    with simulator.meter() as meter:
        wait_until(lambda: meter.read_float(0x0048, functioncode=4) > 0.005, "energy flows")
        shown_kwh = meter.read_float(0x0048, functioncode=4)
        simulator.end(signal.SIGKILL)
    simulator.start()
    with simulator.meter() as meter:
        assert meter.read_float(0x0048, functioncode=4) >= shown_kwh


def test_an_unreadable_register_file_means_a_new_meter_and_a_log_line(tmp_path: Path) -> None:
    (tmp_path / "hardware").mkdir()
    (tmp_path / "hardware" / "meter-1.json").write_text("{")
    with Simulator(tmp_path) as simulator:
        assert simulator.connector()["meter"]["register_wh"] == 0.0
    assert "file=meter-1.json" in (tmp_path / "simulator.log").read_text()


def test_a_state_directory_with_a_path_of_200_characters_works(tmp_path: Path) -> None:
    parent = tmp_path
    while len(str(parent)) < 140:
        parent = parent / ("d" * 20)
    state_dir = parent / ("s" * (200 - len(str(parent)) - 1))
    assert len(str(state_dir)) == 200
    with Simulator(state_dir) as simulator, simulator.port("evse-1") as evse:
        assert rapi(evse, "$GV^35") == "$OK 8.2.3 5.2.1^2F"


def test_the_end_takes_ports_and_socket_away(tmp_path: Path) -> None:
    with Simulator(tmp_path) as simulator:
        assert simulator.end() == 0
    assert list((tmp_path / "dev").iterdir()) == []
    assert not (tmp_path / "run" / "simulator.sock").exists()
    with pytest.raises(SimulatorUnreachable, match="no virtual hardware runs in"):
        simulator.ask("ready")


def test_a_killed_one_leaves_nothing_in_the_way_of_the_next(simulator: Simulator) -> None:
    simulator.end(signal.SIGKILL)
    simulator.start()


def test_only_one_works_in_a_state_directory(simulator: Simulator) -> None:
    second = subprocess.run(simulator.command(), capture_output=True, text=True, timeout=_WAIT_S, check=False)
    assert second.returncode == 1
    assert len(second.stderr.splitlines()) == 1
    simulator.do("ready")


def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    config = tmp_path / "station.toml"
    config.write_text(CONFIG)
    code = (
        "import subprocess, sys, time\nchild = subprocess.Popen(sys.argv[1:])\nprint(child.pid, flush=True)\ntime.sleep(60)\n"
    )
    command = [sys.executable, "-m", "services.simulator", "--config", str(config), "--state-dir", str(tmp_path)]
    with subprocess.Popen([sys.executable, "-c", code, *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        wait_until(lambda: (tmp_path / "run" / "simulator.sock").exists(), "it runs")
        parent.kill()
    wait_until(lambda: not os.path.exists(f"/proc/{pid}") or b"State:\tZ" in status_of(pid), "it ends")


def test_a_file_in_the_way_of_a_port_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "evse-1").write_text("precious")
    done = run_once(tmp_path, CONFIG)
    assert done.returncode == 1
    assert "evse-1 is in the way" in done.stderr
    assert (tmp_path / "dev" / "evse-1").read_text() == "precious"


@pytest.mark.parametrize("config", [None, "nonsense", CONFIG.replace("sdm630", "sdm1")])
def test_an_unusable_configuration_is_one_line(tmp_path: Path, config: str | None) -> None:
    done = run_once(tmp_path, config)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "station.toml" in done.stderr


def test_a_station_without_reader_has_none(tmp_path: Path) -> None:
    with Simulator(tmp_path, CONFIG.replace('[reader]\ndriver = "rdm6300"', "")) as simulator:
        assert not simulator.device("reader").exists()
        assert simulator.ask("swipe", "A")["reason"].startswith("this station has no reader")
        assert simulator.state()["reader"] is None


def test_the_client_says_in_one_line_what_is_missing(tmp_path: Path) -> None:
    for state_dir in (tmp_path / "none", tmp_path):
        with pytest.raises(SimulatorUnreachable) as error:
            request(str(state_dir), "ready", [])
        assert "\n" not in str(error.value)
        (tmp_path / "run").mkdir(exist_ok=True)


def test_the_client_does_not_wait_for_ever(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "run" / "simulator.sock"))
        silent.listen()
        with pytest.raises(SimulatorUnreachable, match="does not answer within"):
            request(str(tmp_path), "ready", [], timeout_s=0.05)


def test_the_client_is_cheap_to_import() -> None:
    code = "import sys, services.simulator.client; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=_WAIT_S, check=True)
    assert not {"pymodbus", "asyncio", "msgspec", "zmq", "serial"} & set(done.stdout.split())


def run_once(state_dir: Path, config: str | None) -> subprocess.CompletedProcess[str]:
    path = state_dir / "station.toml"
    if config is not None:
        path.write_text(config)
    command = [sys.executable, "-m", "services.simulator", "--config", str(path), "--state-dir", str(state_dir)]
    return subprocess.run(command, capture_output=True, text=True, timeout=_WAIT_S, check=False)


def status_of(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/status").read_bytes()
    return b"State:\tZ"


@contextlib.contextmanager
def connected(simulator: Simulator) -> Iterator[socket.socket]:
    descriptor = os.open(simulator.state_dir / "run", os.O_PATH)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_WAIT_S)
            connection.connect(f"/proc/self/fd/{descriptor}/simulator.sock")
            yield connection
    finally:
        os.close(descriptor)
