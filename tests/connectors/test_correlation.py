"""One name for the log's lines of a session, from card or plug to its end; it never decides anything (design §6)."""

import json
from pathlib import Path

import pytest

from bus.database import open_database, transaction
from bus.messages import Authorize, RemoteStartTransaction, StartTransaction, StopTransaction
from tests.connectors.world import World


class Heard(World):
    """A world that keeps the names with which the Central System was to be asked."""

    def __init__(self, directory: Path, **more: object) -> None:
        self.asked: list[str] = []
        super().__init__(directory, **more)  # type: ignore[arg-type]

    def _answer_authorize(self, request: Authorize, call: object) -> None:
        self.asked.append(request.correlation_id)
        super()._answer_authorize(request, call)  # type: ignore[arg-type]


def names(world: World) -> list[str]:
    return [entry.correlation_id for entry in world.queue.entries]


def lines(caplog: pytest.LogCaptureFixture) -> dict[str, str | None]:
    """The name in the last line of each event of connectors."""
    records = [record for record in caplog.records if record.name == "connectors"]
    return {record.getMessage(): record.__dict__["fields"].get("correlation_id") for record in records}


def plug_first(world: World) -> None:
    world.plants[1].plug_in()
    world.advance(2)
    world.card()


def card_first(world: World) -> None:
    world.card()
    world.advance(2)
    world.plants[1].plug_in()


@pytest.mark.parametrize("begin", [plug_first, card_first])
def test_a_session_has_one_name_from_the_first_of_card_and_plug(tmp_path, caplog, begin):
    caplog.set_level("INFO")
    world = Heard(tmp_path)
    begin(world)
    world.advance(5)
    world.card()
    world.advance(5)
    (name,) = set(names(world))
    assert (len(name), world.asked) == (8, [name])
    assert [type(entry.message) for entry in world.queue.entries[:: len(world.queue.entries) - 1]] == [
        StartTransaction,
        StopTransaction,
    ]
    said = lines(caplog)
    events = ("card accepted", "transaction starts", "transaction stops", "transaction ends", "status changes")
    assert {event: said[event] for event in events} == dict.fromkeys(events, name)


def test_a_remote_start_is_named_like_the_plug_that_was_in(tmp_path, caplog):
    caplog.set_level("INFO")
    world = Heard(tmp_path)
    world.plants[1].plug_in()
    world.advance(2)
    name = lines(caplog)["status changes"]
    world.call(RemoteStartTransaction("TAG", 1))
    world.advance(5)
    assert (world.asked, names(world)) == ([name], [name])


def test_another_session_on_the_same_plug_has_another_name(tmp_path):
    world = Heard(tmp_path)
    plug_first(world)
    world.advance(5)
    for _ in range(2):
        world.card()
        world.advance(5)
    first, *_, last = names(world)
    assert "" not in (first, last)
    assert first != last
    assert world.asked == [first, last]


def test_what_happens_after_the_plug_is_out_has_no_name(tmp_path, caplog):
    caplog.set_level("INFO")
    world = World(tmp_path)
    plug_first(world)
    world.advance(5)
    world.card()
    world.advance(5)
    name = names(world)[0]
    world.plants[1].unplug()
    world.advance(5)
    assert lines(caplog)["status changes"] == name, "the step in which the plug goes is the session's last"
    assert world.service is not None
    assert world.service._state.connectors[0].correlation_id == ""


def test_a_session_keeps_its_name_over_a_death(tmp_path, caplog):
    world = World(tmp_path)
    plug_first(world)
    world.advance(5)
    (name,) = set(names(world))
    world.kill()
    world.advance(5)
    caplog.set_level("INFO")
    world.card()
    world.advance(5)
    assert set(names(world)) == {name}
    assert lines(caplog)["transaction ends"] == name


@pytest.mark.parametrize("name", [None, "", "x" * 5000, '\x00\n" =', "ffff"])
def test_a_session_goes_on_whatever_its_name_is(tmp_path, name):
    """None: an older release began it, and knew of no names."""
    world = World(tmp_path)
    plug_first(world)
    world.advance(5)
    world.kill()
    database = open_database(str(tmp_path / "connectors.db"))
    (body,) = database.execute("SELECT body FROM transactions").fetchone()
    facts = json.loads(body)
    del facts["correlation_id"]
    with transaction(database):
        text = json.dumps(facts if name is None else facts | {"correlation_id": name})
        database.execute("UPDATE transactions SET body = ?", (text,))
    database.close()
    world.advance(5)
    world.card()
    world.advance(5)
    last = world.queue.entries[-1]
    assert isinstance(last.message, StopTransaction)
    assert last.correlation_id == (name or "")
