"""What is read ahead is what stands on the disk when its turn comes, or is not used at all."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from bus.messages import Delivered
from services.transaction_queue import events as e
from services.transaction_queue.ahead import Ahead
from services.transaction_queue.rows import Row
from services.transaction_queue.store import Store
from tests.transaction_queue.world import BOOT, World, moment, session

DELIVERED = (e.CommitDelivered(0, Delivered()),)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def opened(world: World) -> tuple[Store, Ahead]:
    """A whole session, of which the MeterValues are the head."""
    world.connectors.write(*session("a"), *session("b", 500))
    store = Store(world.database, BOOT)
    start = head(store)
    store.mark_delivered(start, 101, None)
    return store, Ahead(world.database)


def head(store: Store) -> Row:
    row = store.head(None)
    assert row is not None
    return row


def test_the_message_after_meter_values_is_read_ahead(world: World) -> None:
    store, ahead = opened(world)
    ahead.read()
    values = head(store)
    following = ahead.take(DELIVERED, values)
    store.mark_delivered(values, None, None)
    assert following == head(store)
    assert following is not None
    assert following.transaction_id == 101


@pytest.mark.parametrize(
    "change",
    [
        lambda store, row: store.mark_not_sent(row, "run/1"),
        lambda store, _: store.move_to_end("a", 2),
        lambda store, _: store.add(session("c", 900)[0], moment(1)),
        lambda store, row: store.remove(row.row_id),
    ],
)
def test_nothing_is_used_that_was_read_before_a_write(world: World, change: Callable[[Store, Row], object]) -> None:
    store, ahead = opened(world)
    ahead.read()
    values = head(store)
    change(store, values)
    assert ahead.take(DELIVERED, values) is None


def test_it_is_used_once_and_for_delivered_meter_values_only(world: World) -> None:
    store, ahead = opened(world)
    values = head(store)
    for effects in ((e.CommitGivenUp(0, "failed 3 times"),), (*DELIVERED, *DELIVERED), ()):
        ahead.read()
        assert ahead.take(effects, values) is None
    ahead.read()
    assert ahead.take(DELIVERED, None) is None
    assert ahead.take(DELIVERED, values) is None
    store.mark_delivered(values, None, None)
    ahead.read()
    assert ahead.take(DELIVERED, head(store)) is None, "a StopTransaction"


@pytest.mark.parametrize("seed", range(10))
def test_whatever_happens_in_between_each_message_goes_out_as_it_is_stored(world: World, seed: int) -> None:
    """New entries, restarts and cuts between the messages of a backlog."""
    dice = random.Random(seed)
    world.connectors.write(*session("0"))
    world.link.online()
    for number in range(1, 30):
        match dice.randrange(4):
            case 0:
                world.link.offline()
            case 1:
                world.restart_queue()
            case 2:
                world.link.answer = lambda _: None
        world.connectors.write(*session(str(number), 1000 * number))
        world.link.answer = world.central_system
        world.link.online()
        world.advance(dice.choice([0, 1, 100]))
    world.advance(2000)
    assert world.rows("messages") == []
    ids = {request.local_tx_id: request.transaction_id for request in world.sent if request.transaction_id is not None}
    assert len(set(ids.values())) == 30
    for request in world.sent:
        assert request.transaction_id == (None if "Start" in type(request.message).__name__ else ids[request.local_tx_id])
