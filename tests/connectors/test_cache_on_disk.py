"""The Authorization Cache among real nodes and on a real disk, and deaths at every effect (OCPP 1.6 §3.5.1, §4.8, §5.4)."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from bus.calls import Reply
from bus.database import transaction
from bus.messages import (
    ClearCache,
    ClearCacheAnswer,
    ClockState,
    ConfigurationState,
    IdTagInfo,
    RemoteStopTransaction,
    StartTransaction,
    StopTransaction,
)
from bus.vocabulary import AuthorizationStatus, ClearCacheStatus, Reason
from tests.connectors.bench import ACCEPTED, BLOCKED, FAMILY, OFFLINE
from tests.connectors.world import UTC_OFFSET_S, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def on_disk(world: World) -> dict[str, IdTagInfo]:
    rows = world.database.execute("SELECT id_tag, body FROM cache ORDER BY rowid").fetchall()
    return {key: msgspec.json.decode(body, type=IdTagInfo) for key, body in rows}


def charge(world: World, id_tag: str = "TAG") -> None:
    world.plants[1].plug_in()
    world.advance(1)
    world.card(id_tag)
    world.advance(5)


def charging(world: World) -> bool:
    shown = world.shown()
    return shown is not None and shown.status == "Charging"


def test_a_card_starts_offline_after_a_restart_by_what_the_cache_remembers(world: World) -> None:
    """OCPP 1.6 §3.5.1, §9.1.12: by any spelling of the idTag; an unknown card does not."""
    world.queue.delivers = False
    world.card("KNOWN")
    world.card("KNOWN")
    world.link_state = OFFLINE
    world.advance(2)
    world.kill()
    world.advance(2)
    charge(world, "OTHER")
    assert not charging(world)
    world.card("known")
    world.advance(5)
    assert charging(world)
    assert world.authorized == ["KNOWN"]


def test_each_answer_finds_its_card_by_the_message_that_waited_for_it(world: World) -> None:
    """OCPP 1.6 §4.8, §4.10: also long after the transaction, and after a restart."""
    world.queue.info, world.queue.stop_info = FAMILY, BLOCKED
    world.queue.delivers = False
    charge(world, "MUM")
    world.info = FAMILY
    world.card("mUM")
    world.advance(5)
    world.kill()
    world.advance(2)
    assert on_disk(world) == {"mum": ACCEPTED}
    world.queue.stop_info = None
    world.queue.delivers = True
    world.advance(2)
    assert on_disk(world) == {"mum": FAMILY}


def test_stop_transaction_conf_speaks_of_the_card_that_stopped(world: World) -> None:
    """OCPP 1.6 §4.10; of nobody where no card did."""
    world.queue.info = world.info = FAMILY
    world.queue.stop_info = BLOCKED
    charge(world, "MUM")
    world.card("DAD")
    world.advance(5)
    assert on_disk(world) == {"mum": FAMILY, "dad": BLOCKED}
    world.plants[1].unplug()
    world.advance(1)
    charge(world, "MUM")
    world.call(RemoteStopTransaction(4711))
    world.advance(5)
    assert on_disk(world) == {"dad": BLOCKED, "mum": FAMILY}


def test_an_answer_that_comes_after_the_link_was_given_up_is_remembered(world: World) -> None:
    """OCPP 1.6 §3.5.1: all received idTagInfo, also one that decides nothing any more."""
    world.answers_authorize = False
    world.card()
    world.link_state = OFFLINE
    world.advance(2)
    world.unanswered[0].answer(BLOCKED)
    world.advance(1)
    assert on_disk(world) == {"tag": BLOCKED}


def test_after_a_power_cut_the_last_known_time_says_what_has_expired(world: World) -> None:
    """OCPP 1.6 §3.5.1, design §5: the clock is unknown, and it is later than its floor."""
    expiry_utc_ms = round((UTC_OFFSET_S + world.now_s) * 1000) + 60_000
    world.info = IdTagInfo(AuthorizationStatus.ACCEPTED, expiry_utc_ms=expiry_utc_ms)
    for id_tag in ("EARLY", "EARLY"):
        world.card(id_tag)
    world.kill()
    world.link_state = OFFLINE
    world.clock = ClockState("floor", None, expiry_utc_ms)
    world.advance(2)
    charge(world, "EARLY")
    assert not charging(world)
    assert on_disk(world)["early"].status is AuthorizationStatus.EXPIRED


def test_clear_cache_is_answered_after_the_commit(world: World) -> None:
    """OCPP 1.6 §5.4; field report 50."""
    world.card()
    seen: list[dict[str, IdTagInfo]] = []
    replies: list[Reply] = []

    def replied(reply: Reply) -> None:
        seen.append(on_disk(world))
        replies.append(reply)

    assert on_disk(world) == {"tag": ACCEPTED}
    world.link.call(ClearCache(), timeout_s=5.0, on_reply=replied)
    world._settle()
    assert [reply.value for reply in replies] == [ClearCacheAnswer(ClearCacheStatus.ACCEPTED)]
    assert seen == [{}]


def test_the_keys_take_effect_from_the_bus(world: World) -> None:
    """Field report 24: AuthorizationCacheEnabled, LocalPreAuthorize, LocalAuthorizeOffline, MaxEnergyOnInvalidId."""
    world.link.publish(ConfigurationState({"AuthorizationCacheEnabled": "false"}))
    world.card()
    (reply,) = world.call(ClearCache())
    assert isinstance(reply, Reply)
    assert reply.value.status is ClearCacheStatus.REJECTED
    assert on_disk(world) == {}
    values = {"AuthorizationCacheEnabled": "true", "LocalPreAuthorize": "true", "MaxEnergyOnInvalidId": "30"}
    world.link.publish(ConfigurationState({**values, "LocalAuthorizeOffline": "false"}))
    world.card()
    world.card()
    world.card()
    assert on_disk(world) == {"tag": ACCEPTED}
    assert world.service is not None
    settings = world.service._state.settings
    assert settings.local_pre_authorize
    assert not settings.local_authorize_offline
    assert settings.max_energy_on_invalid_id_wh == 30


def test_an_entry_that_cannot_be_read_is_set_aside(world: World) -> None:
    """Field report 52."""
    world.card()
    with transaction(world.database):
        world.database.execute("INSERT INTO cache VALUES ('bad', '{\"status\": \"Nonsense\"}')")
    world.kill()
    world.advance(2)
    assert on_disk(world) == {"tag": ACCEPTED}
    assert world.database.execute("SELECT source, id FROM unreadable").fetchall() == [("cache", "bad")]


def test_a_message_that_cannot_be_read_any_more_is_delivered_all_the_same(world: World) -> None:
    """Field report 15: one bad row can't keep the process from living."""
    world.queue.delivers = False
    world.queue.info = BLOCKED
    charge(world)
    with transaction(world.database):
        world.database.execute("UPDATE journal_out SET payload = '{}'")
    world.queue.delivers = True
    world.advance(5)
    assert world.deaths == 0
    assert on_disk(world) == {"tag": ACCEPTED}
    assert world.database.execute("SELECT count(*) FROM journal_out WHERE payload = '{}'").fetchone() == (0,)


def deaths(tmp_path: Path, *, power_fails: bool) -> Iterator[World]:
    """A card that the Central System accepts at first and refuses at the start; the process dies one effect later each time."""
    lives = 0
    while True:
        directory = tmp_path / str(lives)
        directory.mkdir()
        world = World(directory, configuration={"AllowOfflineTxForUnknownId": "true"})
        world.power_fails_with_it = power_fails
        world.queue.info = IdTagInfo(AuthorizationStatus.INVALID, parent_id_tag="FAMILY")
        world.lives[0] = lives
        world.plants[1].plug_in()
        world.advance(1)
        world.on_guard(world.card)
        world.advance(40)
        yield world
        world.database.close()
        if world.deaths == 0:
            break
        lives += 1
    assert lives > 15, "it does more than that"


@pytest.mark.parametrize("power_fails", [False, True])
def test_death_at_any_effect_of_a_refused_start_leaves_one_truth(tmp_path: Path, power_fails: bool) -> None:
    """Style §9: the cache, the transaction and the journal are of one commit, so no death comes between them.

    Whoever was refused has no energy in the end, and the cache says so offline.
    """
    for world in deaths(tmp_path, power_fails=power_fails):
        assert world.service is not None
        assert on_disk(world) == world.service._state.cache
        messages = [entry.message for entry in world.queue.entries]
        starts = [m for m in messages if isinstance(m, StartTransaction)]
        stops = [m for m in messages if isinstance(m, StopTransaction)]
        assert len(starts) == len(stops) <= 1
        if not starts:
            assert set(on_disk(world)) <= {"tag"}, "it died before the start, and nobody presented the card again"
            continue
        assert stops[0].reason in ((Reason.DE_AUTHORIZED, Reason.POWER_LOSS) if power_fails else (Reason.DE_AUTHORIZED,))
        assert on_disk(world)["tag"].status is AuthorizationStatus.INVALID
        assert stops[0].id_tag is None
        assert not world.plants[1].relay_closed
        world.link_state = OFFLINE
        world.advance(2)
        world.card("tag")
        world.advance(3)
        assert len(world.queue.entries) == len(messages)
