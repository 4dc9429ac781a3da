"""PN532: vectors of hardware.md §5.2, a parser that nothing can upset, and the driver against a scripted chip."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.card_messages import CardOutcome
from services.hardware.contract import DeviceError, NoAnswer, PortMissing, ReaderDesired, TokenSeen, WrongAnswer
from services.rfid.drivers.pn532 import REPEATS_MAX, WAKE_UPS_MAX, Pn532, port_bytes
from services.rfid.drivers.pn532_frames import (
    ACK,
    NACK,
    WAKE_UP,
    Acknowledged,
    Parser,
    Refused,
    Repeat,
    Reply,
    command_frame,
    uids,
)
from tests.hardware.peers import PtyPeer, bytes_of

MakePeer = Callable[..., PtyPeer]

COMMANDS = {
    "version": bytes_of("00 00 FF 02 FE D4 02 2A 00"),
    "sam": bytes_of("00 00 FF 05 FB D4 14 01 14 01 02 00"),
    "retries": bytes_of("00 00 FF 06 FA D4 32 05 FF 01 01 F4 00"),
    "list": bytes_of("00 00 FF 04 FC D4 4A 01 00 E1 00"),
    "release": bytes_of("00 00 FF 03 FD D4 52 00 DA 00"),
}
ANSWERS = {
    "version": bytes_of("00 00 FF 06 FA D5 03 32 01 06 07 E8 00"),
    "sam": bytes_of("00 00 FF 02 FE D5 15 16 00"),
    "retries": bytes_of("00 00 FF 02 FE D5 33 F8 00"),
    "release": bytes_of("00 00 FF 03 FD D5 53 00 D8 00"),
}
NO_CARD = bytes_of("00 00 FF 03 FD D5 4B 00 E0 00")
ERROR = bytes_of("00 00 FF 01 FF 7F 81 00")
CARDS = {
    "DEADBEEF": bytes_of("00 00 FF 0C F4 D5 4B 01 01 00 04 08 04 DE AD BE EF 96 00"),
    "04A1B2C3D4E580": bytes_of("00 00 FF 0F F1 D5 4B 01 01 00 44 00 07 04 A1 B2 C3 D4 E5 80 40 00"),
}
DESFIRE = bytes_of("00 00 FF 15 EB D5 4B 01 01 03 44 20 07 04 A1 B2 C3 D4 E5 80 06 75 77 81 02 80 28 00")


def test_commands_are_those_of_the_vectors() -> None:
    assert command_frame(0x02) == COMMANDS["version"]
    assert command_frame(0x14, b"\x01\x14\x01") == COMMANDS["sam"]
    assert command_frame(0x32, b"\x05\xff\x01\x01") == COMMANDS["retries"]
    assert command_frame(0x4A, b"\x01\x00") == COMMANDS["list"]
    assert command_frame(0x52, b"\x00") == COMMANDS["release"]


@pytest.mark.parametrize(("uid", "frame"), [*CARDS.items(), ("04A1B2C3D4E580", DESFIRE)])
def test_a_card_is_told_by_its_uid(uid: str, frame: bytes) -> None:
    (reply,) = Parser().feed(frame)
    assert isinstance(reply, Reply)
    assert uids(reply.data) == [bytes.fromhex(uid)]


def test_no_card_is_no_error() -> None:
    assert Parser().feed(NO_CARD) == [Reply(0x4B, b"\x00")]
    assert uids(b"\x00") == []


def test_two_cards_are_told_one_after_the_other_past_their_ats() -> None:
    first = bytes.fromhex("01 0344 20 07 04A1B2C3D4E580 067577810280".replace(" ", ""))
    second = bytes.fromhex("02 0004 08 04 DEADBEEF".replace(" ", ""))
    assert uids(b"\x02" + first + second) == [bytes.fromhex("04A1B2C3D4E580"), bytes.fromhex("DEADBEEF")]


@pytest.mark.parametrize(
    "data", ["", "01", "0101000408", "010100040805DEADBEEF01", "010100040804DEAD", "02010004 0804DEADBEEF"]
)
def test_an_answer_that_makes_no_sense_is_no_card(data: str) -> None:
    assert uids(bytes.fromhex(data)) is None


def test_short_frames_are_told_apart() -> None:
    assert Parser().feed(ACK + NACK + ERROR) == [Acknowledged(), Repeat(), Refused()]


def test_a_broken_frame_is_counted_and_the_next_one_is_read() -> None:
    parser = Parser()
    broken = NO_CARD[:-2] + b"\x00\x00"
    assert parser.feed(broken) == []
    assert parser.bad == 1
    assert parser.feed(NO_CARD) == [Reply(0x4B, b"\x00")]


@given(st.lists(st.binary(max_size=80), max_size=8))
def test_arbitrary_bytes_never_crash_the_parser(chunks: list[bytes]) -> None:
    parser = Parser()
    for chunk in chunks:
        parser.feed(chunk)


@given(st.binary(max_size=30), st.lists(st.integers(1, 5), min_size=1, max_size=20))
def test_frames_survive_noise_before_them_and_any_pieces(noise: bytes, sizes: list[int]) -> None:
    """Noise may look like the start of a longer frame; then one repeat later the frame is read all the same."""
    parser = Parser()
    stream = noise + bytes(300) + DESFIRE
    found = []
    while stream:
        size = sizes[len(stream) % len(sizes)]
        found += parser.feed(stream[:size])
        stream = stream[size:]
    assert found[-1] == Reply(0x4B, DESFIRE[7:-2])


@given(st.binary(max_size=60))
def test_arbitrary_answers_never_crash_and_give_only_whole_uids(data: bytes) -> None:
    assert all(len(uid) in (4, 7, 10) for uid in uids(data) or [])


@pytest.mark.parametrize(
    ("outcome", "params"),
    [(None, "BF 86"), (CardOutcome.WAIT, "BF 82"), (CardOutcome.ACCEPTED, "BE 86"), (CardOutcome.REFUSED, "B7 86")],
)
def test_a_lamp_is_a_low_pin_and_all_others_are_high(outcome: CardOutcome | None, params: str) -> None:
    """UM0701-02, WriteGPIO: P3 and P7 with bit 7 set; P32 and P34 are the chip's own and stay 1."""
    lamps = {CardOutcome.WAIT: "P72", CardOutcome.ACCEPTED: "P30", CardOutcome.REFUSED: "P33"}
    assert port_bytes(lamps, outcome) == bytes_of(params)


def test_a_port_without_a_lamp_and_a_chip_without_lamps_are_left_alone(peer: MakePeer) -> None:
    assert port_bytes({CardOutcome.ACCEPTED: "P30"}, CardOutcome.ACCEPTED) == bytes_of("BE 00")
    chip = Chip()
    driver = Pn532(peer(chip).path)
    driver.open()
    driver.exchange(ReaderDesired(CardOutcome.ACCEPTED))
    driver.close()
    assert bytes_of("D4 0E") not in chip.heard


def test_a_chip_that_does_not_set_its_pins_is_a_failure_as_any_other(peer: MakePeer) -> None:
    driver = Pn532(peer(Chip()).path, lamps={CardOutcome.ACCEPTED: "P30"})
    driver.open()
    with pytest.raises(DeviceError):
        driver.exchange(ReaderDesired(CardOutcome.ACCEPTED))
    driver.close()


class Chip:
    """A PN532 that answers as the vectors say. `commands` are those that it took, by name; `heard`: every byte that came."""

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.heard = b""
        self.listing = NO_CARD
        self.deaf = 0
        """So many commands are not even acknowledged."""
        self.silent: set[str] = set()
        """Commands that are acknowledged and then not answered."""
        self.broken = 0
        """So many answers get a wrong checksum; NACK asks for them again."""
        self.before = b""
        """What comes before the next answer."""
        self._last = b""

    def __call__(self, data: bytes) -> bytes:
        self.heard += data
        for name, frame in COMMANDS.items():
            if frame in data:
                return self._answer(name)
        return self._sent(self._last) if NACK in data else b""

    def _answer(self, name: str) -> bytes:
        if self.deaf:
            self.deaf -= 1
            return b""
        self.commands.append(name)
        if name in self.silent:
            return ACK
        before, self.before = self.before, b""
        self._last = self.listing if name == "list" else ANSWERS[name]
        return ACK + before + self._sent(self._last)

    def _sent(self, frame: bytes) -> bytes:
        if not self.broken:
            return frame
        self.broken -= 1
        return frame[:-2] + bytes((frame[-2] ^ 1, 0))


@pytest.fixture
def chip() -> Chip:
    return Chip()


@pytest.fixture
def driver(peer: MakePeer, chip: Chip) -> Pn532:
    device = peer()
    device.answer = chip
    return Pn532(device.path)


def test_it_is_woken_configured_and_asked_who_it_is(driver: Pn532, chip: Chip) -> None:
    info = driver.open()
    assert (info.vendor, info.model, info.firmware) == ("NXP", "PN532", "1.6")
    assert chip.commands == ["sam", "version", "retries"]
    assert chip.heard.startswith(WAKE_UP)
    driver.close()


@pytest.mark.parametrize(("uid", "frame"), CARDS.items())
def test_a_card_is_seen_and_released_so_that_it_is_found_again(driver: Pn532, chip: Chip, uid: str, frame: bytes) -> None:
    driver.open()
    assert driver.exchange(None) == []
    chip.listing = frame
    for _ in range(2):
        (token,) = driver.exchange(None)
        assert isinstance(token, TokenSeen)
        assert (token.uid, token.verbatim) == (uid, False)
        assert chip.commands[-2:] == ["list", "release"]
    driver.close()


def test_a_chip_that_wakes_slowly_is_woken_again(driver: Pn532, chip: Chip) -> None:
    chip.deaf = WAKE_UPS_MAX - 1
    assert driver.open().model == "PN532"
    assert chip.heard.count(WAKE_UP) == WAKE_UPS_MAX
    driver.close()


def test_a_dead_chip_is_told_with_what_to_check(driver: Pn532, chip: Chip) -> None:
    chip.deaf = 100
    with pytest.raises(NoAnswer, match=r"no reader answers .* check power, wiring"):
        driver.open()
    driver.close()


def test_a_command_without_an_answer_is_aborted_and_the_next_one_works(driver: Pn532, chip: Chip) -> None:
    driver.open()
    chip.silent = {"list"}
    with pytest.raises(NoAnswer, match="does not answer"):
        driver.exchange(None)
    chip.silent = set()
    assert driver.exchange(None) == []
    assert COMMANDS["list"] + ACK + COMMANDS["list"] in chip.heard, "an ACK from the host ends a command that still runs"
    assert driver.counters().timeouts == 1
    driver.close()


def test_a_broken_answer_is_asked_for_again(driver: Pn532, chip: Chip) -> None:
    driver.open()
    chip.listing, chip.broken = CARDS["DEADBEEF"], REPEATS_MAX
    assert [token.uid for token in driver.exchange(None)] == ["DEADBEEF"]
    assert driver.counters().errors == REPEATS_MAX
    chip.broken = 100
    with pytest.raises(NoAnswer, match="broken frames"):
        driver.exchange(None)
    driver.close()


def test_a_late_answer_to_an_earlier_command_is_passed_over(driver: Pn532, chip: Chip) -> None:
    driver.open()
    chip.before = ANSWERS["version"]
    assert driver.exchange(None) == []
    driver.close()


def test_an_error_frame_is_told(driver: Pn532, chip: Chip) -> None:
    driver.open()
    chip.before = ERROR
    with pytest.raises(WrongAnswer, match="refuses command 4A"):
        driver.exchange(None)
    driver.close()


def test_it_vanishes_and_comes_back(peer: MakePeer, chip: Chip) -> None:
    device = peer()
    device.answer = chip
    driver = Pn532(device.path)
    driver.open()
    device.vanish()
    with pytest.raises(PortMissing, match="has lost its device"):
        driver.exchange(None)
    device.appear()
    chip.listing = CARDS["DEADBEEF"]
    driver.open()
    assert [token.uid for token in driver.exchange(None)] == ["DEADBEEF"]
    driver.close()
