"""RAPI's framing, against the vectors of the hardware notes (§3.1) and against arbitrary bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.simulator import board_commands, rapi
from services.simulator.rapi import LineReader, Request
from tests.simulator.bench import Bench

REQUESTS = (
    "$GS^30",
    "$GE^26",
    "$GG^24",
    "$GU^36",
    "$GV^35",
    "$GC^20",
    "$GP^33",
    "$GF^25",
    "$G0^53",
    "$G5^56",
    "$GY^3A",
    "$FE^27",
    "$FD^26",
    "$FS^31",
    "$FR^30",
    "$SY^2E",
    "$SB^35",
    "$SY 15 6^1C",
    "$SY 165^3C",
    "$SC 16 V^65",
    "$SC 6 V^54",
    "$S5 A^23",
    "$S5 1^53",
    "$S5 0^52",
)
LEGACY = ("$FD*AE", "$FE*AF", "$FS*BD", "$FR*BC")
REPLIES = (
    "$OK^20",
    "$NK^21",
    "$OK 03 125 03 0140 :01^08",
    "$OK 01 0 01 0200^12",
    "$OK 06 300 02 01a0^47",
    "$OK 16000 230000^16",
    "$OK 3600000 1234567^25",
    "$OK 6 80 16 32^18",
    "$OK 16 0021^24",
    "$OK 250 -2560 -2560^37",
    "$OK 15 6 0^02",
    "$OK 8.2.3 5.2.1^2F",
    "$NK 32^00",
    "$AB 00 8.2.3^1E",
    "$AT 03 03 16 0140^33",
    "$AT fe 02 16 0100^36",
    "$AT 06 03 16 01c0^61",
    "$AN 1^3A",
    "$WF 02^17",
)


@pytest.mark.parametrize("vector", [*REQUESTS, *LEGACY])
def test_requests_of_the_vectors_are_taken(vector: str) -> None:
    body = vector[1:-3]
    name, *params = body.split(" ")
    assert rapi.parse(vector) == Request(name=name, params=tuple(params))
    assert rapi.parse(vector.lower().replace(body.lower(), body)) == Request(name=name, params=tuple(params))


@pytest.mark.parametrize("vector", REPLIES)
def test_lines_of_the_vectors_come_out_byte_for_byte(vector: str) -> None:
    name, *rest = vector[1:-3].split(" ")
    sequence = rest.pop()[1:] if rest and rest[-1].startswith(":") else ""
    assert rapi.line(name, tuple(rest), sequence) == f"{vector}\r".encode()


@pytest.mark.parametrize(("vector", "name", "sequence"), [("$GS :01^2B", "GS", "01"), ("$GG :7F^4F", "GG", "7F")])
def test_a_sequence_id_is_told_from_parameters(vector: str, name: str, sequence: str) -> None:
    assert rapi.parse(vector) == Request(name=name, sequence=sequence)


def test_sequence_id_00_is_none() -> None:
    assert rapi.parse("$GS :00") == Request(name="GS")


@pytest.mark.parametrize("line", ["$GS^31", "$GS*31", "$GS^", "$GS^3", "$GS^ZZ"])
def test_a_wrong_checksum_is_no_request(line: str) -> None:
    assert rapi.parse(line) is None


def test_a_line_without_checksum_is_taken() -> None:
    assert rapi.parse("$SC 16 V") == Request(name="SC", params=("16", "V"))


def test_lines_are_found_in_noise_and_a_dollar_starts_anew() -> None:
    reader = LineReader()
    assert reader.feed(b"\r\nnoise$G") == []
    assert reader.feed(b"$GS^30\r\n$GE^26\r") == ["$GS^30", "$GE^26"]


def test_31_characters_pass_and_32_are_dropped_silently() -> None:
    longest = b"$FP 0 0 " + b"x" * 23
    assert len(longest) == 31
    reader = LineReader()
    assert reader.feed(longest + b"\r") == [longest.decode()]
    assert reader.feed(longest + b"x\r$GS\r") == ["$GS"]


@given(st.integers(0, 10**12))
def test_numbers_wrap_at_their_width(value: int) -> None:
    assert rapi.number(str(value), 8) == value % 256


@given(st.lists(st.binary(max_size=80), max_size=10))
def test_arbitrary_bytes_never_crash_the_controller(chunks: list[bytes]) -> None:
    bench = Bench().boot()
    for chunk in chunks:
        bench.send(chunk)
    bench.send(b"\r")
    bench.run(6.0)  # Chance may have spelled $FR.
    assert bench.ask("GV") == "OK 8.2.3 5.2.1"


@given(
    st.sampled_from([*(name for name in board_commands.HANDLERS if name != "FR"), "XX"]),
    st.lists(st.text("0123456789AMVBDE-: \xff", max_size=6), max_size=12),
)
def test_arbitrary_parameters_get_one_answer(name: str, params: list[str]) -> None:
    bench = Bench().charge()
    line = f"${' '.join([name, *params])}\r".encode("latin-1")
    replies = [said for said in bench.send(line) if said[:2] in ("OK", "NK")]
    assert len(replies) == (1 if len(line) <= 32 else 0)
    bench.run(2.0)
    assert bench.ask("GV") == "OK 8.2.3 5.2.1"
