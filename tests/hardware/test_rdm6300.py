"""RDM6300 frames and driver: vectors of hardware.md §5.1, and a parser that nothing can upset."""

import logging
import select
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.hardware.contract import PortMissing, TokenSeen
from services.rfid.drivers.listening import BAD_MAX
from services.rfid.drivers.payloads import Card
from services.rfid.drivers.rdm6300 import Parser, Rdm6300
from tests.hardware.peers import PtyPeer, bytes_of
from tests.harness import wait_until

MakePeer = Callable[..., PtyPeer]
VECTORS = {
    "0100CDA4EC": "02 30 31 30 30 43 44 41 34 45 43 38 34 03",
    "01001293D8": "02 30 31 30 30 31 32 39 33 44 38 35 38 03",
    "100086F444": "02 31 30 30 30 38 36 46 34 34 34 32 36 03",
}
FRAME = bytes_of(VECTORS["0100CDA4EC"])
TAG = Card("0100CDA4EC")


def text_frame(text: str) -> bytes:
    total = 0
    for char in text.encode():
        total ^= char
    return f"\x02={text}{total:02X}\x03".encode()


def uid_frame(uid: bytes) -> bytes:
    total = 0
    for byte in uid:
        total ^= byte
    return f"\x02{uid.hex().upper()}{total:02X}\x03".encode()


@pytest.mark.parametrize(("tag", "frame"), VECTORS.items())
def test_a_frame_means_what_the_vectors_say(tag: str, frame: str) -> None:
    parser = Parser()
    assert parser.feed(bytes_of(frame)) == [Card(tag)]
    assert parser.bad == 0


def test_line_ends_inside_a_frame_are_skipped() -> None:
    assert Parser().feed(FRAME[:-1] + b"\r\n" + FRAME[-1:]) == [TAG]


def test_digits_come_out_in_upper_case() -> None:
    assert Parser().feed(FRAME.lower()) == [TAG]


@pytest.mark.parametrize("text", ["a", "Visitor card 17", "deadbeef", "x" * 20, "=", "0100CDA4EC"])
def test_an_extended_frame_gives_its_characters_as_they_are(text: str) -> None:
    assert Parser().feed(text_frame(text)) == [Card(text, verbatim=True)]


@pytest.mark.parametrize(
    "frame",
    [
        FRAME.replace(b"84\x03", b"85\x03"),
        FRAME[:5] + b"\x03",
        b"\x02\x03",
        b"\x02" + b"G" * 12 + b"\x03",
        text_frame(""),
        text_frame("x" * 21),
        text_frame("a\x01"),
        b"\x02=abc\xff\xff\x03",
        b"\x02" + b"0" * 500,
    ],
)
def test_a_bad_frame_is_counted_and_the_next_one_is_read(frame: bytes) -> None:
    parser = Parser()
    assert parser.feed(frame) == []
    assert parser.bad == 1
    assert parser.feed(FRAME) == [TAG]


def test_a_cut_frame_does_not_spoil_the_next() -> None:
    parser = Parser()
    assert parser.feed(FRAME[:6] + FRAME) == [TAG]
    assert parser.bad == 1


@given(st.lists(st.binary(max_size=60), max_size=10))
def test_arbitrary_bytes_never_crash_the_parser(chunks: list[bytes]) -> None:
    parser = Parser()
    for chunk in chunks:
        parser.feed(chunk)
    assert parser.feed(FRAME)[-1] == TAG


@given(st.binary(min_size=5, max_size=5), st.binary(max_size=20).filter(lambda raw: b"\x02" not in raw), st.integers(0, 14))
def test_a_uid_survives_framing_in_any_pieces_after_any_noise(uid: bytes, noise: bytes, cut: int) -> None:
    parser = Parser()
    frame = noise + uid_frame(uid)
    assert parser.feed(frame[:cut]) + parser.feed(frame[cut:]) == [Card(uid.hex().upper())]


@given(st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=20))
def test_a_text_survives_framing(text: str) -> None:
    assert Parser().feed(text_frame(text)) == [Card(text, verbatim=True)]


def heard(driver: Rdm6300, count: int) -> list[TokenSeen]:
    """The next tokens, as the thread would get them."""
    found: list[TokenSeen] = []
    while len(found) < count:
        descriptor = driver.fileno()
        assert descriptor is not None
        assert select.select([descriptor], [], [], 5)[0]
        found += driver.exchange(None)
    return found


def test_repeats_are_passed_on(peer: MakePeer) -> None:
    """The core decides what is one presentation."""
    device = peer()
    driver = Rdm6300(device.path, now=lambda: 7.0)
    assert driver.open().model == "RDM6300"
    assert driver.exchange(None) == []
    device.send(b"\x00noise" + FRAME + FRAME[:4] + text_frame("Guest"))
    assert heard(driver, 2) == [TokenSeen("0100CDA4EC", 7.0), TokenSeen("Guest", 7.0, verbatim=True)]
    assert (driver.counters().replies, driver.counters().errors) == (2, 1)
    driver.close()


def test_only_a_vanished_port_loses_the_reader_and_it_comes_back(peer: MakePeer) -> None:
    device = peer()
    driver = Rdm6300(device.path)
    driver.open()
    device.vanish()
    with pytest.raises(PortMissing, match="has lost its device"):
        driver.exchange(None)
    with pytest.raises(PortMissing, match="is not there"):
        driver.open()
    device.appear()
    driver.open()
    device.send(FRAME)
    assert heard(driver, 1)[0].uid == "0100CDA4EC"
    driver.close()


def test_a_reader_at_the_wrong_speed_is_told_once(peer: MakePeer, caplog: pytest.LogCaptureFixture) -> None:
    device = peer()
    driver = Rdm6300(device.path)
    driver.open()
    with caplog.at_level(logging.WARNING):
        for bad in (BAD_MAX - 1, BAD_MAX, 5 * BAD_MAX):
            device.send(b"\x02junk\x03" * (bad - driver.counters().errors))
            wait_until(lambda: driver.exchange(None) == [] and driver.counters().errors == bad, 5, "the frames are read")  # noqa: B023
            assert len(caplog.records) == (bad >= BAD_MAX)
    driver.close()
    assert "9600 baud" in caplog.text
