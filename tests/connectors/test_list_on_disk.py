"""The Local Authorization List among real nodes and on a real disk; it is whole at any instant (OCPP 1.6 §3.5.2, §5.15)."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from bus.calls import Reply
from bus.database import open_database
from bus.messages import ConfigurationState, IdTagInfo
from bus.profile_messages import (
    AuthorizationData,
    GetLocalListVersion,
    LocalListState,
    LocalListVersion,
    SendLocalList,
    SendLocalListAnswer,
)
from bus.vocabulary import UpdateStatus, UpdateType
from services.connectors.state import LocalList
from services.connectors.store import Store
from tests.connectors.bench import ACCEPTED, BLOCKED, OFFLINE
from tests.connectors.world import World

CONFIGURATION = {"LocalAuthListEnabled": "true"}
OLD = {f"old{number}": ACCEPTED for number in range(10)}
CHANGES: dict[str, IdTagInfo | None] = {"OLD1": None, "OLD2": BLOCKED, **{f"NEW{number}": BLOCKED for number in range(5)}}
NEW = {**{key: info for key, info in OLD.items() if key != "old1"}, "old2": BLOCKED}
NEW.update({f"new{number}": BLOCKED for number in range(5)})


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, configuration=CONFIGURATION)


def request(version: int, type_: UpdateType, entries: dict[str, IdTagInfo] | dict[str, IdTagInfo | None]) -> SendLocalList:
    return SendLocalList(version, type_, tuple(AuthorizationData(id_tag, info) for id_tag, info in entries.items()))


def answer(world: World, message: SendLocalList | GetLocalListVersion) -> object:
    (reply,) = world.call(message)
    assert isinstance(reply, Reply)
    return reply.value


def entries_of(store: Store, directory: Path) -> dict[str, IdTagInfo]:
    database = open_database(str(directory / "connectors.db"))
    rows = database.execute("SELECT id_tag, body FROM local_list").fetchall()
    database.close()
    assert not store.unreadable
    return {key: msgspec.json.decode(body, type=IdTagInfo) for key, body in rows}


def opened(directory: Path) -> tuple[LocalList, dict[str, IdTagInfo]]:
    """What a new process finds there."""
    database = open_database(str(directory / "connectors.db"))
    store = Store(database)
    size = store.load().local_list
    database.close()
    return size, entries_of(store, directory)


def test_an_update_is_on_disk_when_it_is_answered(world: World) -> None:
    """OCPP 1.6 §5.15; field report 50."""
    seen: list[tuple[LocalList, dict[str, IdTagInfo]]] = []
    world.link.call(request(1, UpdateType.FULL, OLD), timeout_s=5.0, on_reply=lambda _: seen.append(opened(world.directory)))
    world._settle()
    assert seen == [(LocalList(1, 10), OLD)]
    assert answer(world, GetLocalListVersion()) == LocalListVersion(1)


def test_it_is_whole_when_the_process_is_killed_at_any_statement(world: World, tmp_path: Path) -> None:
    """OCPP 1.6 §5.15: SIGKILL leaves the files as they are at that instant. The old list is there or the new one, no third."""
    assert answer(world, request(1, UpdateType.FULL, OLD)) == SendLocalListAnswer(UpdateStatus.ACCEPTED)
    copies: list[Path] = []

    def copy(_: str) -> None:
        directory = tmp_path / f"copy-{len(copies)}"
        directory.mkdir()
        for file in world.directory.glob("connectors.db*"):
            shutil.copy(file, directory)
        copies.append(directory)

    world.database.set_trace_callback(copy)
    world.call(request(2, UpdateType.DIFFERENTIAL, CHANGES))
    world.database.set_trace_callback(None)
    copy("")
    found = [opened(directory) for directory in copies]
    assert len(found) > len(CHANGES)
    assert found[0] == (LocalList(1, 10), OLD)
    assert found[-1] == (LocalList(2, 14), NEW)
    assert all(one in (found[0], found[-1]) for one in found)


@pytest.mark.parametrize("power_fails", [False, True])
def test_death_at_any_effect_leaves_the_old_list_or_the_new_one(tmp_path: Path, power_fails: bool) -> None:
    """OCPP 1.6 §5.15; what was answered Accepted is there."""
    outcomes = set()
    for world, replies in deaths(tmp_path, power_fails=power_fails):
        size, entries = opened(world.directory)
        assert (size, entries) in ((LocalList(1, 10), OLD), (LocalList(2, 14), NEW))
        accepted = any(reply.value == SendLocalListAnswer(UpdateStatus.ACCEPTED) for reply in replies)
        assert not accepted or size.version == 2
        assert answer(world, GetLocalListVersion()) == LocalListVersion(size.version)
        outcomes.add((size.version, accepted))
    assert outcomes == {(1, False), (2, False), (2, True)}


def deaths(tmp_path: Path, *, power_fails: bool) -> Iterator[tuple[World, list[Reply]]]:
    """The process dies one effect later each time."""
    lives = 0
    while True:
        directory = tmp_path / f"{power_fails}-{lives}"
        directory.mkdir()
        world = World(directory, configuration=CONFIGURATION)
        world.power_fails_with_it = power_fails
        world.call(request(1, UpdateType.FULL, OLD))
        world.lives[0] = lives
        replies: list[Reply] = []
        world.link.call(request(2, UpdateType.DIFFERENTIAL, CHANGES), timeout_s=5.0, on_reply=replies.append)
        world._settle()
        world.advance(10)
        world.lives[0] = 10**9
        yield world, replies
        if world.deaths == 0:
            world.database.close()
            return
        world.database.close()
        lives += 1


def test_a_card_of_the_list_starts_offline_after_a_restart(world: World) -> None:
    """OCPP 1.6 §3.5.2, field report 33: nobody was ever asked about it."""
    world.call(request(1, UpdateType.FULL, {"CARD": ACCEPTED, "OTHER": BLOCKED}))
    world.link_state = OFFLINE
    world.advance(2)
    world.kill()
    world.advance(2)
    world.plants[1].plug_in()
    world.advance(1)
    world.card("OTHER")
    world.advance(3)
    shown = world.shown()
    assert shown is not None
    assert shown.transaction is None
    world.card("card")
    world.advance(5)
    shown = world.shown()
    assert shown is not None
    assert shown.status == "Charging"
    assert world.authorized == []


def test_the_key_takes_effect_from_the_bus(world: World) -> None:
    """OCPP 1.6 §9.2.1; without the profile there is no key, and no list."""
    world.call(request(4, UpdateType.FULL, {"CARD": ACCEPTED}))
    for values in ({"LocalAuthListEnabled": "false"}, {}):
        world.link.publish(ConfigurationState(values))
        world._settle()
        told = answer(world, GetLocalListVersion())
        assert isinstance(told, LocalListVersion)
        assert told.list_version == -1
        refused = answer(world, request(5, UpdateType.FULL, {}))
        assert isinstance(refused, SendLocalListAnswer)
        assert refused.status is UpdateStatus.NOT_SUPPORTED
    world.link.publish(ConfigurationState({"LocalAuthListEnabled": "true", "SendLocalListMaxLength": "1"}))
    world._settle()
    assert answer(world, GetLocalListVersion()) == LocalListVersion(4)
    failed = answer(world, request(5, UpdateType.FULL, OLD))
    assert isinstance(failed, SendLocalListAnswer)
    assert failed.status is UpdateStatus.FAILED


def test_version_and_size_are_said_on_the_bus(world: World) -> None:
    """For `station status`; a restarted process says them too."""
    world.link.watch(LocalListState, lambda _, __: None)
    world.call(request(4, UpdateType.FULL, OLD))
    assert world.link.latest(LocalListState) == LocalListState(True, 4, 10)
    world.kill()
    world.advance(2)
    assert world.link.latest(LocalListState) == LocalListState(True, 4, 10)
