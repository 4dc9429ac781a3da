"""Opening and losing ports (hardware.md §2.2)."""

import os
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

from services.hardware.contract import NoAnswer, PortMissing
from services.hardware.port import open_port
from tests.hardware.peers import PtyPeer

MakePeer = Callable[..., PtyPeer]


def test_parity_is_dropped_on_a_pseudo_terminal(peer: MakePeer) -> None:
    port = open_port(peer(lambda data: data[::-1]).path, 9600, parity="E", stop_bits=2)
    port.write(b"abc")
    assert port.read(2.0) == b"cba"
    port.close()


def test_a_port_belongs_to_one_process_alone(peer: MakePeer) -> None:
    device = peer()
    port = open_port(device.path, 9600)
    with pytest.raises(PortMissing, match="used by another process; end that process"):
        open_port(device.path, 9600)
    port.close()
    open_port(device.path, 9600).close()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda _: None, "is not there; plug the device in, or correct the port in station.toml"),
        (lambda path: path.write_text("no tty"), "is no serial port; correct the port"),
        (lambda path: path.mkdir(), "is a directory"),
        (lambda path: path.symlink_to("/dev/pts/99999"), "is not there"),
    ],
)
def test_an_unusable_port_is_one_plain_line(tmp_path: Path, make: Callable[[Path], object], words: str) -> None:
    path = tmp_path / "port"
    make(path)
    with pytest.raises(PortMissing) as caught:
        open_port(str(path), 9600)
    text = str(caught.value)
    assert words in text
    assert str(path) in text
    assert "\n" not in text


def test_nothing_to_read_is_no_error(peer: MakePeer) -> None:
    port = open_port(peer().path, 9600)
    assert port.read() == b""
    port.close()


def test_a_vanished_device_is_a_missing_port_on_read_and_write(peer: MakePeer) -> None:
    device = peer()
    port = open_port(device.path, 9600)
    device.vanish()
    with pytest.raises(PortMissing, match="has lost its device; plug the device in again"):
        port.read(1.0)
    with pytest.raises(PortMissing, match="has lost its device"):
        port.write(b"x")
    port.close()
    with pytest.raises(PortMissing):
        port.read()
    port.close()


def test_a_device_that_takes_no_data_does_not_hold_the_thread() -> None:
    master, slave = os.openpty()
    port = open_port(os.ttyname(slave), 9600)
    with pytest.raises(NoAnswer, match="takes no data"):
        port.write(b"x" * 1_000_000)
    port.close()
    os.close(master)
    os.close(slave)


def test_closing_leaves_the_modem_lines_so_that_no_board_resets(peer: MakePeer) -> None:
    port = open_port(peer().path, 9600)
    assert not termios.tcgetattr(port.fileno())[2] & termios.HUPCL
    port.close()
