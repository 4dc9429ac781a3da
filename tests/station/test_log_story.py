"""`station logs --transaction`: the story of one session out of the logs of all services (issue 7)."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.logs import line as logfmt
from bus.logs import utc_text
from services.station import log_reader, log_story
from services.station.log_lines import Record
from services.station.programs import FRAMES
from tests.acceptance.rig import rig

A, B = "4ca0a7296f7b078a", "4cffa7296f7b0000"
T0_S = 1_763_000_000.0


def at(offset_s: float, service: str, event: str, level: str = "info", **fields: object) -> Record:
    ts = utc_text(T0_S + offset_s)
    said = {"level": level, "service": service, "event": event, **fields}
    return Record(ts, service, f"{ts} {logfmt(said)}")


def status(offset_s: float, detail: str, connector: int = 1) -> Record:
    return at(offset_s, "connectors", "status changes", connector=connector, detail=detail)


def session(offset_s: float, local: str, number: int, connector: int = 1, **more: object) -> list[Record]:
    """From plug to plug; 100 s."""
    about = {"connector": connector, "local_tx_id": local, **more}
    queue = {"transaction_id": number, "local_tx_id": local, **more}
    return [
        status(offset_s, "Available -> Preparing", connector),
        at(offset_s + 5, "connectors", "card accepted", connector=connector, id_tag="04A1…D4", **more),
        at(offset_s + 6, "connectors", "transaction starts", id_tag="04A1…D4", **about),
        at(offset_s + 7, "transaction_queue", "message delivered", action="StartTransaction", unique_id=f"{local}-0", **queue),
        at(offset_s + 20, "meter", "device does not answer", "warning", device=f"meter-{connector}"),
        at(offset_s + 30, "connectors", "transaction resumes after a restart of this service", **about),
        at(offset_s + 60, "connectors", "transaction stops", detail="Local", **about),
        status(offset_s + 61, "Charging -> Finishing", connector),
        at(offset_s + 62, "connectors", "transaction ends", detail="Local, 28 Wh", **about),
        at(offset_s + 63, "transaction_queue", "message delivered", action="StopTransaction", unique_id=f"{local}-1", **queue),
        status(offset_s + 99, "Finishing -> Available", connector),
    ]


def told(records: list[Record], asked: str) -> tuple[list[Record], log_story.Session]:
    written = sorted(records, key=lambda record: record.ts)
    found = log_story.gathered(log_story.found(iter(written), asked), lambda: iter(written))
    return [record for record in written if log_story.belongs(found, record)], found


def lines(records: list[Record]) -> list[str]:
    return [record.line for record in records]


@pytest.mark.parametrize("asked", ["841", A, "4ca"])
def test_a_session_is_found_by_each_of_its_names(asked: str) -> None:
    own, before, after = session(1000, A, 841), session(800, B, 840), session(1200, "77aa", 842)
    story, found = told([*before, *own, *after], asked)
    assert lines(story) == lines(own)
    assert log_story.summary(found) == (
        "began 2025-11-13 02:30:06 UTC; ended 2025-11-13 02:31:02 UTC (Local, 28 Wh); "
        "its StopTransaction was delivered 2025-11-13 02:31:03 UTC"
    )


def test_the_correlation_id_brings_in_what_was_said_before_the_transaction() -> None:
    """The card was presented before the plug, for no connector in particular."""
    early = [
        at(900, "rfid", "card presented", correlation_id="0a0b0c0d"),
        at(901, FRAMES, "frame sent", action="Authorize", unique_id="u9", correlation_id="0a0b0c0d"),
        at(902, FRAMES, "frame received", action="Authorize", unique_id="u9", kind="CALLRESULT"),
    ]
    other = [at(903, "rfid", "card presented", correlation_id="11111111")]
    own = session(1000, A, 841, correlation_id="0a0b0c0d")
    story, found = told([*early, *other, *own], A)
    assert lines(story) == lines([*early, *own])
    assert log_story.facts(found)["began"] == utc_text(T0_S + 900)


def test_frames_belong_by_unique_id_and_by_the_transaction_in_their_text() -> None:
    own = session(1000, A, 841)
    frames = [
        at(1006.5, FRAMES, "frame sent", action="StartTransaction", unique_id=f"{A}-0"),
        at(1050, FRAMES, "frame received", action="RemoteStopTransaction", frame='[2,"x","R",{"transactionId":841}]'),
        at(1051, FRAMES, "frame received", action="RemoteStopTransaction", frame='[2,"y","R",{"transactionId":8412}]'),
        at(1052, FRAMES, "frame sent", action="Heartbeat", unique_id="h"),
        at(5000, FRAMES, "frame received", action="Reset", unique_id=f"{A}-0"),
    ]
    story, _ = told([*own, *frames], "841")
    assert [record.line for record in story if record.service == FRAMES] == lines(frames[:2])


def test_restarts_and_warnings_of_all_belong_while_it_runs() -> None:
    inside = [
        at(1030, "connectors", "stopped"),
        at(1040, "bus", "events were lost on the bus", "warning"),
        at(1062.5, "ocpp_link", "no connection", "warning"),
    ]
    outside = [
        at(990, "connectors", "started"),
        at(1041, "connectors", "device does not answer", "warning", device="evse-2"),
        at(1042, "meter", "meter answers"),
        at(1062.6, "rfid", "started"),
        at(1070, "ocpp_link", "no connection", "warning"),
    ]
    own = session(1000, A, 841)
    story, _ = told([*own, *inside, *outside], A)
    assert lines(story) == sorted(lines([*own, *inside]), key=lambda line: line[:24])


def test_a_session_without_an_end_is_over_when_another_one_begins_there() -> None:
    """Its last lines were lost with the power."""
    lost, following = session(1000, A, 841)[:5], session(2000, B, 842)
    late = at(2050, "rfid", "events were lost on the bus", "warning")
    story, _ = told([*lost, *following, late], A)
    assert late.line not in lines(story)
    assert set(lines(lost)) <= set(lines(story))
    assert not [record for record in story if record.get("local_tx_id") == B]


def test_a_transaction_id_that_is_used_again_names_both_and_each_can_be_told() -> None:
    """A Central System that restarted counts from the beginning."""
    first, second = session(1000, A, 1), session(2000, B, 1)
    with pytest.raises(log_story.NoStory, match=f"2 sessions are called '1': {A} .*{B} .*give the local_tx_id"):
        told([*first, *second], "1")
    with pytest.raises(log_story.NoStory, match="2 sessions are called '4c'"):
        told([*first, *second], "4c")
    late = at(2500, FRAMES, "frame sent", action="MeterValues", transaction_id=1)
    assert lines(told([*first, *second, late], A)[0]) == lines(first)
    assert lines(told([*first, *second, late], B)[0]) == [*lines(second), late.line]


def test_what_is_not_in_the_logs_is_said() -> None:
    with pytest.raises(log_story.NoStory, match="not found: no line has a transactionId or local_tx_id '9'"):
        told(session(0, A, 841), "9")
    running = session(1000, A, 841)[:6]
    assert log_story.summary(told(running, A)[1]).endswith("no end in the logs: it runs still, or nothing was written since")
    waiting = session(1000, A, 841)[:9]
    assert log_story.summary(told(waiting, A)[1]).endswith(
        "its StopTransaction waits, it is not delivered: see station queue list --all"
    )
    rotated = session(1000, A, 841)[6:]
    assert log_story.summary(told(rotated, A)[1]).startswith("its beginning is not in the logs any more")
    lost = at(
        1100, "transaction_queue", "message given up, it is kept: see station queue", local_tx_id=A, action="StopTransaction"
    )
    assert "its StopTransaction was given up" in log_story.summary(told([*waiting, lost], A)[1])


@st.composite
def days(draw: st.DrawFn) -> tuple[list[list[Record]], list[Record]]:
    """Sessions on two connectors, one after the other on each, and lines of nobody in between and among them."""
    sessions, clock = [], {1: 0, 2: 0}
    for number in range(draw(st.integers(1, 6))):
        connector = draw(st.sampled_from([1, 2]))
        begin = clock[connector] + draw(st.integers(1, 300))
        clock[connector] = begin + 100
        more = {"correlation_id": f"{number:08x}"} if draw(st.booleans()) else {}
        sessions.append(session(begin, f"{number:x}ee{number:013x}", 500 + number, connector, **more))
    strange = st.tuples(st.floats(0, 2500), st.sampled_from(["meter answers", "frame", "reading"]))
    nobody = [at(when, "meter", event) for when, event in draw(st.lists(strange, max_size=8))]
    return sessions, nobody


@given(days())
def test_every_line_of_a_session_is_told_and_none_of_another(day: tuple[list[list[Record]], list[Record]]) -> None:
    sessions, nobody = day
    everything = [*nobody, *(record for one in sessions for record in one)]
    for number, own in enumerate(sessions):
        by_local, found = told(everything, f"{number:x}ee{number:013x}")
        by_number, same = told(everything, str(500 + number))
        assert lines(by_local) == lines(own)
        assert (lines(by_number), same) == (lines(by_local), found)


NAMES = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=40)
ODD = st.tuples(st.floats(0, 500), NAMES, st.sampled_from(["1", "2", "x", ""]))


@given(st.lists(ODD, max_size=12), st.text(min_size=1))
def test_whatever_the_logs_hold_it_is_told_or_refused_in_one_line(odd: list[tuple[float, str, str]], asked: str) -> None:
    records = [at(when, "connectors", text, connector=connector, local_tx_id=text or None) for when, text, connector in odd]
    records.append(Record("", "meter", "Segmentation fault"))
    refusal = ""
    try:
        story, found = told(records, asked)
    except log_story.NoStory as error:
        refusal = str(error)
    if refusal:
        assert len(refusal.splitlines()) == 1
    else:
        assert story
        assert all(log_story.names(found, record) or not record.get("local_tx_id") for record in story)


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """The session's beginning is in a rotated file."""
    (tmp_path / "log").mkdir()
    own = session(1000, A, 841)
    by_service = {
        name: [record.line for record in own if record.service == name] for name in ("connectors", "transaction_queue", "meter")
    }
    for name, written in by_service.items():
        (tmp_path / "log" / f"{name}.log.1").write_text("\n".join(written[:2]) + "\n", encoding="utf-8")
        (tmp_path / "log" / f"{name}.log").write_text("".join(f"{line}\n" for line in written[2:]), encoding="utf-8")
    return tmp_path


def test_it_ends_with_one_line_of_summary(state_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert log_reader.main(["--state-dir", str(state_dir), "--transaction", "841"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 12
    assert shown[-1].startswith("began ")
    assert log_reader.main(["--state-dir", str(state_dir), "--transaction", "841", "--json", "meter"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row.get("service") for row in rows] == ["meter", None]
    assert rows[-1]["summary"] == shown[-1]
    assert rows[-1]["outcome"] == "Local, 28 Wh"


def test_short_lines_tell_once_whom_they_are_about(state_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert log_reader.main(["--state-dir", str(state_dir), "--transaction", "4ca", "--short"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == f"transactionId 841, local_tx_id {A}, connector 1, card 04A1…D4"
    assert all(A not in line for line in shown[1:])
    assert max(map(len, shown[:-1])) <= 90


def test_what_makes_no_sense_is_one_line(state_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert log_reader.main(["--state-dir", str(state_dir), "--transaction", "nothing"]) == 1
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    for more, why in (
        (["--transaction", "841", "--follow"], "leave one of both out"),
        (["--transaction", ""], "of which session"),
    ):
        assert log_reader.main(["--state-dir", str(state_dir), *more]) == 2
        said = capsys.readouterr()
        assert (said.out, said.err.count("\n")) == ("", 1)
        assert why in said.err


@pytest.mark.process
def test_a_session_over_a_restart_of_connectors_is_one_story() -> None:
    with rig() as one:
        one.start_by_card()
        one.station.restart("connectors")
        one.wait_for_status(1, "Charging")
        one.stop_by_card()
        (transaction,) = one.finished()
        one.station.sim("plug-out", "1")
        one.wait_for_status(1, "Available")
        done = one.station.command("logs", "--transaction", str(transaction.transaction_id), "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    events = [row.get("event", "") for row in rows]
    frames = [(row["event"], row["kind"], row["action"]) for row in rows if "frame" in row]
    for action in ("StartTransaction", "StopTransaction"):
        assert frames.count(("frame sent", "CALL", action)) == 1
        assert frames.count(("frame received", "CALLRESULT", action)) == 1
    order = ["transaction starts", "stopped", "transaction resumes after a restart of this service", "transaction stops"]
    assert [event for event in events if event in order] == order
    assert rows[0]["ts"] <= rows[-1]["began"] <= rows[-1]["started"]
    assert f"({transaction.reason}, {transaction.energy_wh} Wh); its StopTransaction was delivered" in rows[-1]["summary"]
