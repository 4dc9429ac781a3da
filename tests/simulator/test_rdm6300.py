"""The virtual card reader, against the frames of the hardware notes (§5.1), and its extension for other tags."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.simulator.rdm6300 import DWELL_S, REPEAT_S, Reader, TagError, cut, frame, with_bad_checksum


@pytest.mark.parametrize(
    ("tag", "sent"),
    [
        ("0100CDA4EC", "02 30 31 30 30 43 44 41 34 45 43 38 34 03"),
        ("01001293D8", "02 30 31 30 30 31 32 39 33 44 38 35 38 03"),
        ("100086F444", "02 31 30 30 30 38 36 46 34 34 34 32 36 03"),
        ("100086f444", "02 31 30 30 30 38 36 46 34 34 34 32 36 03"),
    ],
)
def test_ten_hex_digits_go_in_the_true_frame(tag: str, sent: str) -> None:
    assert frame(tag) == bytes.fromhex(sent)


@pytest.mark.parametrize(
    ("tag", "sent"),
    [
        ("A", b"\x02=A41\x03"),
        ("tag one", b"\x02=tag one36\x03"),
        ("VID:ABC", b"\x02=VID:ABC23\x03"),
        ("0100CDA4E", b"\x02=0100CDA4E47\x03"),
        ("04A1B2C3D4E580", b"\x02=04A1B2C3D4E58006\x03"),
    ],
)
def test_other_tags_go_in_the_extended_frame(tag: str, sent: bytes) -> None:
    check = 0
    for byte in tag.encode():
        check ^= byte
    assert frame(tag) == b"\x02=" + tag.encode() + b"%02X" % check + b"\x03"
    assert frame(tag)[: len(sent) - 3] == sent[:-3]


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=20))
def test_every_printable_tag_of_up_to_20_characters_can_be_told_from_its_frame(tag: str) -> None:
    sent = frame(tag)
    assert (sent[:1], sent[-1:]) == (b"\x02", b"\x03")
    payload = sent[1:-3].decode()
    assert payload.removeprefix("=") == (tag if payload.startswith("=") else tag.upper())


@pytest.mark.parametrize("tag", ["", "x" * 21, "tag\n", "ä", "\x7f", "\x02"])
def test_what_is_no_tag_is_refused_with_one_line(tag: str) -> None:
    with pytest.raises(TagError, match="1 to 20 printable ASCII characters") as error:
        frame(tag)
    assert "\n" not in str(error.value)


def test_a_card_repeats_for_its_dwell() -> None:
    reader = Reader()
    reader.swipe("0100CDA4EC", 5.0)
    sent = b"".join(reader.advance(5.0 + step * 0.02) for step in range(100))
    assert sent == frame("0100CDA4EC") * round(DWELL_S / REPEAT_S)
    assert reader.next_s is None


def test_a_second_card_takes_the_place_of_the_first() -> None:
    reader = Reader()
    reader.swipe("0100CDA4EC", 5.0)
    reader.advance(5.1)
    reader.swipe("01001293D8", 5.1)
    assert frame("0100CDA4EC") not in reader.advance(9.0)


def test_two_cards_noise_and_bad_frames_can_be_held_there() -> None:
    first, second = frame("0100CDA4EC"), frame("01001293D8")
    reader = Reader()
    reader.present((first, second), 5.0, dwell_s=4 * REPEAT_S)
    assert reader.advance(9.0) == (first + second) * 2
    assert with_bad_checksum(first) == first[:-2] + b"0" + first[-1:]
    assert with_bad_checksum(b"\x02=A40\x03") == b"\x02=A41\x03"
    assert cut(first) == first[:7]
