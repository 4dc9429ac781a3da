"""Readers that send characters: lines and keyboards, against hardware.md §5.3 and §5.4, and against their virtual devices."""

import errno
import logging
import os
import select
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.card_messages import CardOutcome
from services.hardware import input_device
from services.hardware.contract import PortMissing, ReaderDesired, TokenSeen
from services.hardware.port import port_missing
from services.rfid.drivers import hid, line
from services.rfid.drivers.hid import HidReader
from services.rfid.drivers.line import LineReader
from services.rfid.drivers.listening import BAD_MAX
from services.rfid.drivers.payloads import Card, card
from services.rfid.presentation import IdTagRules, id_tag_of
from services.simulator import keyboard, line_reader
from services.simulator.rdm6300 import TagError
from tests.hardware.peers import PtyPeer
from tests.harness import wait_until

MakePeer = Callable[..., PtyPeer]
KEYS = {"0": 11, "1": 2, "2": 3, "3": 4, "4": 5, "5": 6, "6": 7, "7": 8, "8": 9, "9": 10}
"""hardware.md §5.4."""
LETTERS = {"A": 30, "B": 48, "C": 46, "D": 32, "E": 18, "F": 33}
KEYPAD = {"0": 82, "1": 79, "2": 80, "3": 81, "4": 75, "5": 76, "6": 77, "7": 71, "8": 72, "9": 73}


def keys(*codes: int, value: int = 1) -> bytes:
    """Keys that go down, as the kernel tells it."""
    return b"".join(struct.pack("llHHi", 1, 2, 1, code, value) + struct.pack("llHHi", 1, 2, 0, 0, 0) for code in codes)


@pytest.mark.parametrize(
    ("sent", "framing", "payload", "uid"),
    [
        (b"A1B2C3\r", "line", "hex", "A1B2C3"),
        (b"a1b2c3d4\r\n", "line", "hex", "A1B2C3D4"),
        (b"04A1B2C3D4E580\n", "line", "hex", "04A1B2C3D4E580"),
        (b"0013477100\r\n", "line", "decimal", "00CDA4EC"),
        (b"\x020013477100\x03", "stx-etx", "decimal", "00CDA4EC"),
        (b"\x02DEADBEEF\r\n\x03", "stx-etx", "hex", "DEADBEEF"),
        (b"\x0200CDA4EC\x03\x00", "stx-etx-lrc", "hex", "00CDA4EC"),
    ],
)
def test_the_lines_that_are_seen_in_the_field(sent: bytes, framing: str, payload: str, uid: str) -> None:
    """hardware.md §5.3; the check byte is the XOR of everything from STX to ETX."""
    if framing == "stx-etx-lrc":
        total = 0
        for byte in sent[:-1]:
            total ^= byte
        sent = sent[:-1] + bytes([total])
    parser = line.Parser(framing, payload)
    assert parser.feed(sent) == [Card(uid)]
    assert parser.bad == 0


@pytest.mark.parametrize(("payload", "tag"), [("hex", "A1B2C3"), ("hex", "04A1B2C3D4E580"), ("decimal", "4022250974")])
@pytest.mark.parametrize("framing", ["line", "stx-etx", "stx-etx-lrc"])
def test_driver_and_virtual_reader_agree_in_pieces_and_after_noise(framing: str, payload: str, tag: str) -> None:
    sent = line_reader.line(tag, framing)
    for cut in range(len(sent)):
        parser = line.Parser(framing, payload)
        parser.feed(b"\xff\x00noise" + (b"\r" if framing == "line" else b""))
        assert parser.feed(sent[:cut]) + parser.feed(sent[cut:]) == [card(tag, payload)]


@pytest.mark.parametrize(
    ("framing", "sent"),
    [
        ("line", b"A1B2C\r"),
        ("line", b"A1B2\r"),
        ("line", b"A1B2G4\r"),
        ("line", b"\xffA1B2C3\r"),
        ("line", b"A" * 22 + b"\r"),
        ("line", b"A" * 20000 + b"A1B2C3\r"),
        ("stx-etx", b"\x02A1B2C3\x02A1\x03"),
        ("stx-etx-lrc", b"\x02A1B2C3\x03\x00"),
        ("stx-etx-lrc", b"\x02A1B2C3\x03\x03"),
    ],
)
def test_a_bad_line_is_no_card_and_does_not_spoil_the_next(framing: str, sent: bytes) -> None:
    parser = line.Parser(framing, "hex")
    assert parser.feed(sent) == []
    assert parser.bad
    assert parser.feed(line_reader.line("DEADBEEF", framing)) == [Card("DEADBEEF")]


@given(st.sampled_from(["line", "stx-etx", "stx-etx-lrc"]), st.lists(st.binary(max_size=40), max_size=8))
def test_arbitrary_bytes_never_crash_the_line_parser(framing: str, chunks: list[bytes]) -> None:
    parser = line.Parser(framing, "text")
    for chunk in chunks:
        parser.feed(chunk)
    parser.forget()
    assert parser.feed(line_reader.line("Guest 17", framing)) == [Card("Guest 17", verbatim=True)]


@pytest.mark.parametrize(
    ("typed", "payload", "format_", "id_tag"),
    [
        ("0013477100", "decimal", "dec10", "0013477100"),
        ("0013477100", "decimal", "hex", "00CDA4EC"),
        ("3970223360", "decimal", "hex_reversed", "00CDA4EC"),
        ("4022250974", "decimal", "dec10_reversed", "3735928559"),
        ("1303689068602752", "decimal", "hex", "04A1B2C3D4E580"),
        ("DEADBEEF", "hex", "hex_reversed", "EFBEADDE"),
        ("Guest-17", "text", "hex_reversed", "Guest-17"),
    ],
)
def test_digits_become_the_id_tag_that_the_site_wants(typed: str, payload: str, format_: str, id_tag: str) -> None:
    """Field report 49: decimal numbers are four bytes, often in reversed order; both are options."""
    found = card(typed, payload)
    assert found is not None
    assert id_tag_of(TokenSeen(found.uid, 0.0, found.verbatim), IdTagRules(format_)) == id_tag


@pytest.mark.parametrize("table", [KEYS, KEYPAD])
def test_the_digits_of_both_rows_of_keys_are_typed(table: dict[str, int]) -> None:
    parser = hid.Parser("decimal")
    typed = keys(*(table[digit] for digit in "0013477100"))
    assert parser.feed(typed) == []
    assert parser.feed(keys(96)) == [Card("00CDA4EC")]


def test_shift_repeats_and_releases_type_nothing() -> None:
    parser = hid.Parser("hex")
    typed = b"".join(keys(42) + keys(code) + keys(code, value=2) + keys(code, value=0) for code in LETTERS.values())
    assert parser.feed(typed + keys(28)) == [Card("ABCDEF")]
    assert parser.feed(keys(28)) == []
    assert parser.bad == 0


@pytest.mark.parametrize(
    "typed",
    [
        keys(2, 3, 4, 28),
        keys(2, 3, 4, 1, 5, 6, 7, 28),
        keys(*[2] * 21, 28),
        keys(2, 3, 4) + struct.pack("llHHi", 0, 0, 0, 3, 0) + keys(5, 6, 7, 28),
    ],
    ids=["too short", "another key", "too long", "keys lost by the kernel"],
)
def test_what_is_no_card_is_counted_and_the_next_one_is_read(typed: bytes) -> None:
    parser = hid.Parser("decimal")
    assert parser.feed(typed) == []
    assert parser.bad == 1
    assert parser.feed(keys(2, 2, 2, 2, 2, 28)) == [card("11111", "decimal")]


@given(st.lists(st.binary(max_size=100), max_size=8))
def test_arbitrary_bytes_never_crash_the_keyboards_parser(chunks: list[bytes]) -> None:
    parser = hid.Parser("hex")
    for chunk in chunks:
        parser.feed(chunk)
    parser.forget()
    assert parser.feed(keys(30, 30, 30, 30, 30, 30, 28)) == [Card("AAAAAA")]


@pytest.mark.parametrize(("payload", "tag"), [("hex", "deadbeef"), ("decimal", "4022250974"), ("text", "GUEST-17")])
def test_driver_and_virtual_keyboard_agree(peer: MakePeer, payload: str, tag: str) -> None:
    device = peer()
    driver = HidReader(device.path, payload=payload, now=lambda: 7.0)
    assert driver.open().model == "keyboard"
    reader = keyboard.Reader(payload)
    reader.swipe(tag, 5.0)
    sent = reader.advance(5.0)
    device.send(sent[:100])
    device.send(sent[100:])
    wanted = card(tag.upper(), payload)
    assert wanted is not None
    assert heard(driver) == TokenSeen(wanted.uid, 7.0, wanted.verbatim)
    assert (driver.counters().replies, driver.counters().errors) == (1, 0)
    driver.close()


def test_keys_that_are_far_apart_do_not_belong_together(peer: MakePeer) -> None:
    """Half a number from one moment and half from another would be somebody's card."""
    device = peer()
    now = [0.0]
    driver = HidReader(device.path, payload="decimal", now=lambda: now[0])
    driver.open()
    device.send(keys(2, 2, 2, 2, 2)[:-8])
    wait_readable(driver)
    assert driver.exchange(None) == []
    now[0] = hid.GAP_S + 0.1
    device.send(keys(3, 3, 3, 3, 3, 28))
    assert heard(driver).uid == card("22222", "decimal").uid  # type: ignore[union-attr]
    assert driver.counters().errors == 1
    driver.close()


def test_half_a_line_is_forgotten(peer: MakePeer) -> None:
    device = peer()
    now = [0.0]
    driver = LineReader(device.path, baud=9600, framing="line", payload="hex", now=lambda: now[0])
    driver.open()
    device.send(b"A1B2")
    wait_readable(driver)
    assert driver.exchange(None) == []
    now[0] = line.GAP_S + 0.1
    device.send(b"C3D4E5F6\r\n")
    assert heard(driver).uid == "C3D4E5F6"
    assert driver.counters().errors == 1
    driver.close()


@pytest.mark.parametrize("kind", ["line", "hid"])
def test_only_a_vanished_device_loses_the_reader_and_it_comes_back(peer: MakePeer, kind: str) -> None:
    device = peer()
    driver = _driver(kind, device.path)
    driver.open()
    device.vanish()
    with pytest.raises(PortMissing, match="has lost its device"):
        driver.exchange(None)
    with pytest.raises(PortMissing, match="is not there"):
        driver.open()
    device.appear()
    driver.open()
    device.send(b"DEADBEEF\r" if kind == "line" else keys(*(LETTERS.get(c) or KEYS[c] for c in "DEADBEEF"), 28))
    assert heard(driver).uid == "DEADBEEF"
    driver.close()
    driver.close()


@pytest.mark.parametrize("kind", ["line", "hid"])
def test_two_of_our_processes_can_not_share_a_reader(peer: MakePeer, kind: str) -> None:
    device = peer()
    first = _driver(kind, device.path)
    first.open()
    with pytest.raises(PortMissing, match="used by another process"):
        _driver(kind, device.path).open()
    first.close()


def test_a_file_that_is_no_keyboard_is_refused_with_what_to_give(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("")
    with pytest.raises(PortMissing, match=r"is no keyboard; give one of /dev/input/by-id"):
        HidReader(str(tmp_path / "notes"), payload="hex").open()


def test_a_keyboard_of_the_kernel_is_grabbed_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers of hardware.md §5.4: EVIOCGRAB 0x40044590 with 1, else the digits go to the console too."""
    asked: list[tuple[int, object]] = []

    def ioctl(_: int, request: int, argument: object) -> object:
        asked.append((request, argument))
        match request:
            case 0x80804506:
                return b"Sycreader RFID  Technology\0".ljust(128, b"\0")
            case 0x80014531:
                return bytes(1)
            case 0x80084502:
                return struct.pack("4H", 3, 0xFFFF, 0x0035, 0x110)
        return 0

    monkeypatch.setattr(input_device.fcntl, "ioctl", ioctl)
    (tmp_path / "event0").write_text("")
    driver = HidReader(str(tmp_path / "event0"), payload="hex")
    info = driver.open()
    assert (info.model, info.serial) == ("Sycreader RFID Technology", "ffff:0035")
    assert (0x40044590, 1) in asked
    driver.close()


@pytest.mark.parametrize(
    ("bits", "told"),
    [
        (0b111, [(0x11, 0, 0), (0x11, 1, 1), (0x11, 2, 0), (0, 0, 0)]),
        (0b011, [(0x11, 0, 0), (0x11, 1, 1), (0, 0, 0)]),
        (0b000, []),
    ],
)
def test_a_keyboard_is_told_of_those_lamps_that_it_has(
    peer: MakePeer, monkeypatch: pytest.MonkeyPatch, bits: int, told: list[tuple[int, int, int]]
) -> None:
    """EVIOCGBIT(EV_LED, 1), then EV_LED (0x11): LED_NUML 0, LED_CAPSL 1, LED_SCROLLL 2; and nothing twice."""
    answers = {0x80804506: b"Reader\0".ljust(128, b"\0"), 0x80084502: bytes(8), 0x80014531: bytes((bits,))}
    monkeypatch.setattr(input_device.fcntl, "ioctl", lambda _, request, __: answers.get(request, 0))
    heard = bytearray()
    device = peer(lambda data: heard.extend(data) or b"")
    driver = HidReader(device.path, payload="hex")
    driver.open()
    for _ in range(3):
        driver.exchange(ReaderDesired(CardOutcome.REFUSED))
    wait_until(lambda: len(heard) >= len(told) * struct.calcsize("llHHi"), 5, "the keyboard has heard it")
    driver.close()
    assert driver.counters().transmissions == bool(told)
    assert [event[2:] for event in struct.iter_unpack("llHHi", bytes(heard))] == told


def test_who_may_not_read_a_keyboard_is_told_the_right_group() -> None:
    text = str(port_missing("/dev/input/by-id/x-event-kbd", OSError(errno.EACCES, os.strerror(errno.EACCES))))
    assert "add the user to the group input" in text


def test_a_reader_with_wrong_settings_is_told_once(peer: MakePeer, caplog: pytest.LogCaptureFixture) -> None:
    device = peer()
    driver = _driver("line", device.path)
    driver.open()
    with caplog.at_level(logging.WARNING):
        device.send(b"junk\r" * 3 * BAD_MAX)
        while driver.counters().errors < 3 * BAD_MAX:
            wait_readable(driver)
            driver.exchange(None)
    driver.close()
    assert len([record for record in caplog.records if "framing and payload" in record.getMessage()]) == 1


@pytest.mark.parametrize(
    ("reader", "tag"),
    [
        (line_reader.Reader("line", "hex"), "12345"),
        (line_reader.Reader("line", "decimal"), "12AB"),
        (line_reader.Reader("line", "text"), "x" * 21),
        (keyboard.Reader("text"), "a card"),
    ],
)
def test_a_virtual_reader_says_which_tags_it_can_carry(reader: line_reader.Reader | keyboard.Reader, tag: str) -> None:
    with pytest.raises(TagError) as error:
        reader.swipe(tag, 0.0)
    assert "\n" not in str(error.value)


def test_a_virtual_line_reader_sends_once_and_its_card_goes() -> None:
    reader = line_reader.Reader("line", "hex")
    assert (reader.card_present, reader.next_s) == (False, None)
    reader.swipe("deadbeef", 5.0, 1.0)
    assert reader.advance(5.0) == b"DEADBEEF\r\n"
    assert (reader.advance(5.5), reader.card_present, reader.next_s) == (b"", True, 6.0)
    assert (reader.receive(b"?", 6.0), reader.card_present) == (b"", False)


def _driver(kind: str, path: str) -> LineReader | HidReader:
    if kind == "line":
        return LineReader(path, baud=9600, framing="line", payload="hex")
    return HidReader(path, payload="hex")


def heard(driver: LineReader | HidReader) -> TokenSeen:
    """The next token, as the thread would get it."""
    while True:
        wait_readable(driver)
        found = driver.exchange(None)
        if found:
            (token,) = found
            return token


def wait_readable(driver: LineReader | HidReader) -> None:
    """Until what was sent has arrived."""
    descriptor = driver.fileno()
    assert descriptor is not None
    assert select.select([descriptor], [], [], 5)[0]
