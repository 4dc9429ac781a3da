"""The ring of a device's last frames, and what of it is logged (hardware.md §7, contract 7)."""

import threading
from collections.abc import Callable

from bus.device_messages import DeviceFrame
from services.hardware import trace
from services.hardware.fleet import LOGGED_BYTES, LOGGED_FRAMES, shown
from services.hardware.port import open_port
from services.hardware.trace import FRAME_BYTES_MAX, FRAMES_MAX, Trace, keep_for_this_thread
from services.station import device_layout
from services.station.facts import DeviceReport
from tests.hardware.peers import PtyPeer

MakePeer = Callable[..., PtyPeer]


def test_the_ring_keeps_the_last_frames_and_none_that_is_endless() -> None:
    ring = Trace()
    for number in range(FRAMES_MAX + 10):
        ring.note(b"%d" % number, sent=number % 2 == 0)
    ring.note(b"x" * 10000, sent=True)
    frames = ring.frames()
    assert len(frames) == FRAMES_MAX
    assert frames[-1].data == b"x" * FRAME_BYTES_MAX
    assert frames[0].data == b"11"


def test_what_comes_in_pieces_is_one_frame_and_what_comes_later_another() -> None:
    ring = Trace()
    ring.note(b"$GS", sent=True)
    ring.note(b"$OK", sent=False)
    ring.note(b" 01", sent=False)
    assert [(frame.sent, frame.data) for frame in ring.frames()] == [(True, b"$GS"), (False, b"$OK 01")]
    ring._newest_s -= trace.JOIN_S * 2
    ring.note(b"$AT", sent=False)
    assert [frame.data for frame in ring.frames()] == [b"$GS", b"$OK 01", b"$AT"]


def test_a_port_notes_in_the_trace_of_its_thread_also_what_a_library_moves(peer: MakePeer) -> None:
    """Drivers, those from outside of the package too, need do nothing for it."""
    device = peer(lambda data: b"<" + data)
    found: list[tuple[bool, bytes]] = []

    def work() -> None:
        ring = Trace()
        keep_for_this_thread(ring)
        port = open_port(device.path, 9600)
        port.write(b"ours")
        data = b""
        while len(data) < 5:
            data += port.read(5.0)
        port.serial.write(b"theirs")
        assert port.serial.read(7) == b"<theirs"
        port.close()
        found.extend((frame.sent, frame.data) for frame in ring.frames())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert found == [(True, b"ours"), (False, b"<ours"), (True, b"theirs"), (False, b"<theirs")]


def test_a_thread_without_a_trace_notes_nothing(peer: MakePeer) -> None:
    port = open_port(peer().path, 9600)
    port.write(b"x")
    port.close()


def test_the_log_of_a_loss_has_the_last_few_frames_short() -> None:
    frames = tuple(DeviceFrame(1.0, number % 2 == 0, bytes([number])) for number in range(9))
    assert shown(frames) == "< 05 > 06 < 07 > 08"
    assert shown((DeviceFrame(1.0, True, bytes(100)),)) == "> " + " ".join(["00"] * LOGGED_BYTES) + "…"
    assert shown(()) is None
    assert LOGGED_FRAMES == 4


def test_frames_are_laid_out_for_people() -> None:
    frames = (DeviceFrame(1.5, True, b"$GS :01^2B\r"), DeviceFrame(1.6, False, bytes((1, 4))))
    assert list(device_layout.frame_lines(frames, 0.0)) == [
        "1970-01-01T00:00:01.500Z > 24 47 53 20 3a 30 31 5e 32 42 0d  $GS :01^2B",
        "1970-01-01T00:00:01.600Z < 01 04",
    ]
    assert list(device_layout.frame_lines((), 0.0)) == ["no frame went over its wire since its service started"]
    assert list(device_layout.json_frames(frames[1:], 0.0)) == ['{"utc":"1970-01-01T00:00:01.600Z","sent":false,"data":"0104"}']


def test_a_lost_device_is_laid_out_with_why_and_who_it_was() -> None:
    lost = DeviceReport("meter-1", False, "no meter answers", "sdm630", "/dev/ttyUSB1", "Eastron SDM630 7", timeouts=3)
    assert device_layout.lines([lost]) == [
        "meter-1    does not answer: no meter answers (it was Eastron SDM630 7)",
        "           configured as sdm630 at /dev/ttyUSB1",
        "           sent 0, answered 0, timeouts 3, errors 0, reconnects 0",
    ]
    assert device_layout.lines([]) == ["no devices are configured"]
