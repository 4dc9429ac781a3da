"""The virtual PN532, against the frames of the hardware notes (§5.2)."""

import pytest

from services.simulator.pn532 import ACK, ERROR, NACK, Defect, Reader
from services.simulator.rdm6300 import TagError

WAKE_UP = b"\x55\x55" + bytes(14)
VERSION = bytes.fromhex("0000FF02FED4022A00")
SAM = bytes.fromhex("0000FF05FBD4140114010200")
RETRIES = bytes.fromhex("0000FF06FAD43205FF0101F400")
LIST = bytes.fromhex("0000FF04FCD44A0100E100")
RELEASE = bytes.fromhex("0000FF03FDD45200DA00")
NO_CARD = bytes.fromhex("0000FF03FDD54B00E000")
DEADBEEF = bytes.fromhex("0000FF0CF4D54B010100040804DEADBEEF9600")
ULTRALIGHT = bytes.fromhex("0000FF0FF1D54B01010044000704A1B2C3D4E5804000")


def awake() -> Reader:
    """Woken, configured, and told to look briefly."""
    reader = Reader()
    reader.receive(WAKE_UP + SAM, 0.0)
    reader.receive(RETRIES, 0.0)
    return reader


def test_it_sleeps_until_it_is_woken() -> None:
    reader = Reader()
    assert reader.receive(VERSION, 0.0) == b""
    assert reader.receive(WAKE_UP, 0.1) == b""
    assert reader.receive(SAM, 0.2) == ACK + bytes.fromhex("0000FF02FED5151600")
    assert reader.receive(VERSION, 0.3) == ACK + bytes.fromhex("0000FF06FAD50332010607E800")


@pytest.mark.parametrize(("tag", "frame"), [("DEADBEEF", DEADBEEF), ("deadbeef", DEADBEEF), ("04A1B2C3D4E580", ULTRALIGHT)])
def test_a_card_is_found_while_it_lies_there(tag: str, frame: bytes) -> None:
    reader = awake()
    assert reader.receive(LIST, 1.0) == ACK + NO_CARD
    reader.swipe(tag, 2.0, dwell_s=0.5)
    assert reader.card_present
    assert reader.receive(LIST, 2.1) == ACK + frame
    assert reader.receive(LIST, 2.2) == ACK + NO_CARD, "a card that was not released is not found again"
    reader.receive(RELEASE, 2.25)
    assert reader.receive(LIST, 2.3) == ACK + frame
    reader.receive(RELEASE, 2.4)
    assert reader.receive(LIST, 2.6) == ACK + NO_CARD
    assert not reader.card_present


def test_a_card_of_ten_bytes_has_an_ats() -> None:
    reader = awake()
    reader.swipe("04" * 10, 1.0)
    answer = reader.receive(LIST, 1.1)
    assert bytes.fromhex("0A" + "04" * 10 + "06") in answer


def test_without_limited_retries_it_looks_until_a_card_comes_or_the_host_aborts() -> None:
    reader = Reader()
    reader.receive(WAKE_UP + SAM, 0.0)
    assert reader.receive(LIST, 1.0) == ACK
    assert reader.advance(5.0) == b""
    reader.swipe("DEADBEEF", 6.0)
    assert reader.advance(6.1) == DEADBEEF
    reader.receive(RELEASE, 6.2)
    reader.advance(9.0)
    assert reader.receive(LIST, 10.0) == ACK
    assert reader.receive(ACK, 10.1) == b""
    reader.swipe("DEADBEEF", 11.0)
    assert reader.advance(11.1) == b""


def test_commands_come_in_any_pieces() -> None:
    reader = awake()
    assert b"".join(reader.receive(bytes((byte,)), 1.0) for byte in b"\x00noise" + LIST) == ACK + NO_CARD


def test_nack_brings_the_last_answer_again() -> None:
    reader = awake()
    reader.defects = [Defect.BAD_CHECKSUM]
    broken = reader.receive(LIST, 1.0)
    assert broken != ACK + NO_CARD
    assert reader.receive(NACK, 1.1) == NO_CARD


@pytest.mark.parametrize(
    ("defect", "answer"), [(Defect.NO_ACKNOWLEDGEMENT, b""), (Defect.SILENCE, ACK), (Defect.ERROR_FRAME, ACK + ERROR)]
)
def test_it_can_misbehave(defect: Defect, answer: bytes) -> None:
    reader = awake()
    reader.defects = [defect]
    assert reader.receive(LIST, 1.0) == answer
    assert reader.receive(LIST, 1.1) == ACK + NO_CARD


def test_a_command_with_a_wrong_checksum_is_not_acknowledged() -> None:
    assert awake().receive(LIST[:-2] + b"\x00\x00", 1.0) == b""


def test_it_may_miss_every_second_look() -> None:
    reader = awake()
    reader.misses_every_second_look = True
    reader.swipe("DEADBEEF", 1.0)
    found = []
    for look in range(4):
        found.append(DEADBEEF in reader.receive(LIST, 1.0 + look * 0.1))
        reader.receive(RELEASE, 1.05 + look * 0.1)
    assert found == [False, True, False, True]


@pytest.mark.parametrize("tag", ["", "DEADBEE", "DEADBEE ", "0100CDA4EC", "Visitor 7", "GG" * 4, "04" * 11])
def test_what_is_no_uid_is_refused_with_one_line(tag: str) -> None:
    with pytest.raises(TagError, match="8, 14 or 20 hexadecimal digits") as error:
        Reader().swipe(tag, 0.0)
    assert "\n" not in str(error.value)
