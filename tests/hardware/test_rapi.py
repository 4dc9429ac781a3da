"""RAPI framing: vectors of hardware.md §3.1, and a parser that nothing can upset."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.connectors.drivers import rapi
from services.connectors.drivers.rapi import Booted, ButtonPressed, Ignored, OldStateChanged, Parser, Reply, StateChanged

REQUESTS = """$GS^30 $GE^26 $GG^24 $GU^36 $GV^35 $GC^20 $GP^33 $GF^25 $G0^53 $G5^56 $GY^3A $FE^27 $FD^26 $FS^31 $FR^30 $SY^2E
$SY_15_6^1C $SY_165^3C $SC_16_V^65 $SC_6_V^54 $S5_A^23 $S5_1^53 $S5_0^52 $SB^35"""
REPLIES = {
    "$OK^20": Reply(True),
    "$NK^21": Reply(False),
    "$OK 03 125 03 0140 :01^08": Reply(True, ("03", "125", "03", "0140"), 1),
    "$OK 01 0 01 0200^12": Reply(True, ("01", "0", "01", "0200")),
    "$OK 06 300 02 01a0^47": Reply(True, ("06", "300", "02", "01a0")),
    "$OK 16000 230000^16": Reply(True, ("16000", "230000")),
    "$OK 3600000 1234567^25": Reply(True, ("3600000", "1234567")),
    "$OK 6 80 16 32^18": Reply(True, ("6", "80", "16", "32")),
    "$OK 16 0021^24": Reply(True, ("16", "0021")),
    "$OK 250 -2560 -2560^37": Reply(True, ("250", "-2560", "-2560")),
    "$OK 15 6 0^02": Reply(True, ("15", "6", "0")),
    "$OK 8.2.3 5.2.1^2F": Reply(True, ("8.2.3", "5.2.1")),
    "$NK 32^00": Reply(False, ("32",)),
}
UNASKED = {
    "$AB 00 8.2.3^1E": Booted(0, "8.2.3"),
    "$AT 03 03 16 0140^33": StateChanged(3, 3, 16, 0x0140),
    "$AT fe 02 16 0100^36": StateChanged(0xFE, 2, 16, 0x0100),
    "$AT 06 03 16 01c0^61": StateChanged(6, 3, 16, 0x01C0),
    "$AN 1^3A": ButtonPressed(long=True),
    "$WF 02^17": Ignored(),
}
LEGACY = {"$FD*AE": Ignored(), "$FE*AF": Ignored(), "$FS*BD": Ignored(), "$FR*BC": Ignored()}


@pytest.mark.parametrize("line", REQUESTS.split())
def test_a_request_has_the_checksum_of_the_vectors(line: str) -> None:
    line = line.replace("_", " ")
    assert rapi.encode(line[1:].partition("^")[0]) == line.encode() + b"\r"


def test_a_sequence_id_is_part_of_the_checksum() -> None:
    assert rapi.encode("GS", 1) == b"$GS :01^2B\r"
    assert rapi.encode("GG", 0x7F) == b"$GG :7F^4F\r"


def test_a_request_longer_than_the_controllers_buffer_is_our_bug() -> None:
    with pytest.raises(AssertionError):
        rapi.encode("S" * 30)


@pytest.mark.parametrize(("line", "meaning"), [*REPLIES.items(), *UNASKED.items(), *LEGACY.items()])
def test_a_line_means_what_the_vectors_say(line: str, meaning: rapi.Line) -> None:
    parser = Parser()
    assert parser.feed(line.encode() + b"\r") == [meaning]
    assert (parser.bad, parser.noise) == (0, 0)


def test_a_state_line_of_old_firmware_is_told_from_the_timer_request() -> None:
    """hardware.md §3.1: `$ST xx` with exactly one parameter."""
    assert rapi.parse_line(rapi.seal("$ST 03")[:-1]) == OldStateChanged()
    assert rapi.parse_line(rapi.seal("$ST 0 0 0 0")[:-1]) == Ignored()


def test_values_are_split_on_runs_of_spaces() -> None:
    assert rapi.parse_line(rapi.seal("$OK a  b")[:-1]) == Reply(True, ("a", "b"))


@pytest.mark.parametrize(
    "line",
    [b"$OK^21", b"$OK", b"$OK^2", b"$AT 03^00", b"$", b"$OK^2g", rapi.seal("$AT xx 03 16 0140")[:-1], rapi.seal("$AB")[:-1]],
)
def test_a_line_that_is_not_right_is_counted_and_skipped(line: bytes) -> None:
    parser = Parser()
    assert parser.feed(line + b"\r$OK^20\r") == [Reply(True)]
    assert parser.bad == 1


def test_a_dollar_sign_begins_a_new_line_and_noise_between_lines_is_counted() -> None:
    parser = Parser()
    assert parser.feed(b"abc\r\n\0$OK 1$OK^20\r") == [Reply(True)]
    assert (parser.bad, parser.noise) == (1, 3)


def test_an_endless_line_does_not_grow_for_ever() -> None:
    parser = Parser()
    assert parser.feed(b"$" + b"x" * 100_000) == []
    assert parser.feed(b"$OK^20\r") == [Reply(True)]


@given(st.lists(st.binary(max_size=60), max_size=10))
def test_arbitrary_bytes_never_crash_the_parser(chunks: list[bytes]) -> None:
    parser = Parser()
    for chunk in chunks:
        parser.feed(chunk)
    assert parser.feed(b"\r$OK^20\r")[-1] == Reply(True)


@given(st.text(alphabet="$OKNATBF :^*0123456789abcdef\r", max_size=80))
def test_nearly_right_lines_never_crash_the_parser(text: str) -> None:
    Parser().feed(text.encode() + b"\r")


@given(
    ok=st.booleans(),
    values=st.lists(st.from_regex(r"[0-9a-zA-Z.\-]{1,8}", fullmatch=True), max_size=5).map(tuple),
    sequence=st.none() | st.integers(1, 255),
    noise=st.binary(max_size=10).map(lambda raw: raw.replace(b"$", b"")),
)
def test_a_reply_survives_framing_whatever_came_before(
    ok: bool, values: tuple[str, ...], sequence: int | None, noise: bytes
) -> None:
    body = " ".join(["$OK" if ok else "$NK", *values, *([] if sequence is None else [f":{sequence:02X}"])])
    assert Parser().feed(noise + rapi.seal(body)) == [Reply(ok, values, sequence)]


@given(st.from_regex(r"[A-Z0-9]{2}( [0-9]{1,3}){0,4}", fullmatch=True), st.integers(1, 255))
def test_each_chunking_of_a_stream_gives_the_same_lines(command: str, cut: int) -> None:
    stream = rapi.seal(f"$OK {command}") + rapi.seal("$AT 03 03 16 0140") + rapi.seal("$NK")
    cut %= len(stream)
    parser = Parser()
    assert parser.feed(stream[:cut]) + parser.feed(stream[cut:]) == Parser().feed(stream)


@pytest.mark.parametrize("text", ["", "1_0", "+1", " 1", "1.0", "١", "9" * 13])
def test_a_number_is_only_what_a_controller_prints(text: str) -> None:
    with pytest.raises(ValueError, match="decimal"):
        rapi.decimal(text)
    with pytest.raises(ValueError, match="hexadecimal"):
        rapi.hexadecimal(text)
