"""Drivers are chosen by one line of station.toml, come from outside of the package too, and only the chosen one is imported."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bus.mailbox import Mailbox
from services.configuration.station import ConfigurationError, capabilities, load
from services.hardware import outside
from services.hardware.contract import DeviceInfo, TokenSeen
from services.hardware.runner import DeviceRunner, DeviceUp, Observed, Report
from services.rfid.drivers import reader_driver
from tests.configuration.test_station import GOOD
from tests.hardware.peers import PtyPeer
from tests.harness import wait_until

MakePeer = Callable[..., PtyPeer]
DISTRIBUTION = Path(__file__).with_name("outside")
ACME = GOOD.replace('driver = "rdm6300"', 'driver = "acme"\noptions = { greeting = "hello" }')


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The distribution stands where Python looks for distributions."""
    monkeypatch.syspath_prepend(str(DISTRIBUTION))


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "station.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.usefixtures("installed")
def test_a_driver_from_outside_is_chosen_by_its_name_and_works(peer: MakePeer, tmp_path: Path) -> None:
    """Issue 6: choosing a driver is one line in station.toml, and nothing of the package changes for it."""
    config = load(written(tmp_path, ACME))
    assert config.reader is not None
    greeted: list[bytes] = []
    device = peer(lambda data: greeted.append(data) or b"CARD 04A1B2C3D4E580;")
    reports: Mailbox[Report[TokenSeen]] = Mailbox()
    runner = DeviceRunner("reader", reader_driver(config.reader, device.path), reports)
    runner.start()
    found: list[Report[TokenSeen]] = []
    wait_until(lambda: found.extend(reports.drain()) or len(found) >= 2, 10, "the reader is up and has sent a card")
    assert runner.stop(3.0)
    assert greeted == [b"hello"]
    assert found[0] == DeviceUp("reader", DeviceInfo(vendor="Acme", model="Reader"))
    assert isinstance(found[1], Observed)
    assert found[1].value == TokenSeen("04A1B2C3D4E580", 0.0)
    assert [frame.data for frame in runner.frames()] == [b"hello", b"CARD 04A1B2C3D4E580;"], "traced without its doing"


@pytest.mark.usefixtures("installed")
def test_a_name_that_nobody_has_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"\[reader\] driver: 'acne' is unknown; did you mean acme\?"):
        load(written(tmp_path, ACME.replace('"acme"', '"acne"')))


@pytest.mark.usefixtures("installed")
def test_a_driver_that_can_not_be_loaded_is_one_line(tmp_path: Path) -> None:
    config = load(written(tmp_path, ACME.replace('"acme"', '"broken"')))
    assert config.reader is not None
    with pytest.raises(outside.OutsideDriverError, match=r"'broken' is acme_reader:nothing, which can't be loaded"):
        reader_driver(config.reader, "/dev/none")


def test_without_the_distribution_its_name_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"\[reader\] driver: 'acme' is unknown"):
        load(written(tmp_path, ACME))
    with pytest.raises(outside.OutsideDriverError, match="install the distribution that has it"):
        outside.made("meter", "acme")


def test_options_are_refused_where_nobody_reads_them(tmp_path: Path) -> None:
    text = GOOD.replace('driver = "rdm6300"', 'driver = "rdm6300"\noptions = { greeting = "hello" }')
    with pytest.raises(ConfigurationError, match=r"\[reader\] options: are for drivers from outside, not for rdm6300"):
        load(written(tmp_path, text))


def test_a_meter_from_outside_has_the_supplys_phases_and_all_measurands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = capabilities(load(written(tmp_path, GOOD.replace("max_current_a = 32", "max_current_a = 32\nphases = 3"))))
    (tmp_path / "x-1.dist-info").mkdir()
    (tmp_path / "x-1.dist-info" / "METADATA").write_text("Name: x\nVersion: 1\n")
    (tmp_path / "x-1.dist-info" / "entry_points.txt").write_text("[chargebus.meter]\nx = x:y\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    text = GOOD.replace('"sdm120"', '"x"').replace("max_current_a = 32", "max_current_a = 32\nphases = 3")
    found = capabilities(load(written(tmp_path, text)))
    assert (usual.phases, found.phases) == (1, 3)
    assert found.measurands == usual.measurands


def test_only_the_driver_that_is_configured_is_imported(tmp_path: Path) -> None:
    """Each import costs memory on a small board (design §8)."""
    program = (
        "import sys\n"
        "from services.configuration.station import load\n"
        "from services.rfid.drivers import reader_driver\n"
        "from services.connectors.drivers import evse_driver\n"
        "config = load(sys.argv[1])\n"
        "reader_driver(config.reader, '/dev/none')\n"
        "heavy = ('minimalmodbus', 'importlib.metadata')\n"
        "print(*sorted(name for name in sys.modules if '.drivers.' in name or name in heavy))\n"
    )
    command = [sys.executable, "-c", program, written(tmp_path, GOOD)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2], timeout=60)
    shared = ["services.rfid.drivers.listening", "services.rfid.drivers.payloads"]
    assert done.stdout.split() == [*shared, "services.rfid.drivers.rdm6300"]
