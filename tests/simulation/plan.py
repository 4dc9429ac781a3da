"""What one seed decides: a station, its people, and everything that goes wrong in a day (pure data from a seeded dice).

Owns: the distribution of visits and faults. Does not: act them out (`world.py`). Most faults are aimed at a visit, from shortly
before the card to shortly after the plug: what happens at night finds little.
"""

import random
from typing import Any

import msgspec

from services.configuration.model import CentralSystem, Connector, Evse, Meter, Reader, Station, StationConfig, Supply
from tests.simulation import lists, people, reservations
from tests.simulation.bus import Mood
from tests.simulation.central_system import BAD_CARD, Temper

DAY_S = 86_400.0
LAST_FAULT_S = DAY_S - 7200.0
CARDS = ("ANNA", "BERT", "CARLA", "DORA")
MONEY_PATH = ("connectors", "transaction_queue", "ocpp_link")
YEAR_S = 31_536_000.0
_CALLS, _CANCELLATIONS = b"call.connectors.", b"cancel.connectors."


class Fault(msgspec.Struct, frozen=True):
    """Something goes wrong at `at_s`, for `lasts_s` where it is a condition. `what` is a method of `faults.py`."""

    at_s: float
    what: str
    lasts_s: float = 0.0
    arguments: tuple[Any, ...] = ()


class Day(msgspec.Struct, frozen=True):
    """One simulation."""

    seed: int
    config: StationConfig
    visits: tuple[people.Plan, ...]
    faults: tuple[Fault, ...]
    has_clock: bool = True
    """Whether the board has a battery for its clock."""
    syncs_after_s: float | None = 5.0
    """How long after a boot somebody disciplines the system clock; None: nobody does."""
    honest_clock: bool = True
    """Whether nobody ever tells the station a wrong time."""
    wishes: tuple[reservations.Wish, ...] = ()
    """What the Central System reserves and cancels."""
    lists_sent: tuple[lists.Update, ...] = ()


def day(seed: int) -> Day:
    """The plan of a seed."""
    dice = random.Random(seed)
    connectors = dice.choice((1, 2, 2))
    visits = tuple(sorted(_visits(dice, connectors), key=lambda v: v.at_s))
    honest = dice.random() < 0.6
    sent = lists.updates(seed, visits, LAST_FAULT_S)
    faults = [
        *_faults(dice, visits, honest=honest),
        *_swaps(random.Random(f"{seed} swaps"), visits),
        *_deaths_over(sent),
        *_dark(random.Random(f"{seed} dark"), visits),
    ]
    faults += _deaths_in_retries(random.Random(f"{seed} retries"), faults)
    faults += _goodbyes(random.Random(f"{seed} goodbyes"), visits)
    faults += _late_calls(random.Random(f"{seed} late calls"), visits)
    return Day(
        seed,
        _config(dice, connectors),
        visits,
        tuple(sorted(faults, key=lambda f: f.at_s)),
        has_clock=dice.random() < 0.3,
        syncs_after_s=dice.choice((2.0, 60.0, 600.0, None)),
        honest_clock=honest,
        wishes=reservations.wishes(seed, visits),
        lists_sent=sent,
    )


def _config(dice: random.Random, connectors: int) -> StationConfig:
    return StationConfig(
        station=Station(identity="CP-1", vendor="Vendor", model="Model"),
        central_system=CentralSystem(url="ws://127.0.0.1:9/ocpp", reconnect_max_s=60.0),
        supply=Supply(max_current_a=32.0),
        reader=Reader(driver="rdm6300"),
        connectors=tuple(
            Connector(id=number, cable="fixed", evse=Evse(driver="openevse"), meter=Meter(driver="sdm120"))
            for number in range(1, connectors + 1)
        ),
        ocpp={
            "AllowOfflineTxForUnknownId": dice.choice(("true", "false")),
            "HeartbeatInterval": "3600",
            "MessageTimeout": "10",
            "MeterValueSampleInterval": dice.choice(("0", "60", "180", "180")),
            "TransactionMessageAttempts": dice.choice(("1", "2", "3", "3")),
            "TransactionMessageRetryInterval": dice.choice(("0", "10", "20", "60")),
            "WebSocketPingInterval": dice.choice(("300", "900", "900")),
        },
    )


def _visits(dice: random.Random, connectors: int) -> list[people.Plan]:
    visits = []
    for connector_id in range(1, connectors + 1):
        count = dice.randrange(3, 6) // connectors + 1
        for number in range(count):
            at_s = 600.0 + (number + 0.7 * dice.random()) * (LAST_FAULT_S - 3600.0) / count
            visits.append(_visit(dice, at_s, connector_id))
            if connectors == 2 and connector_id == 1 and dice.random() < 0.6:
                # The other connector at the same time, in the same or in another order.
                visits.append(_visit(dice, at_s + dice.uniform(5.0, 200.0), 2))
    return visits


def _visit(dice: random.Random, at_s: float, connector_id: int) -> people.Plan:
    charge_s = dice.choice((25.0, 80.0, 150.0, 300.0)) * dice.uniform(0.7, 1.3)
    return people.Plan(
        at_s=at_s,
        connector_id=connector_id,
        id_tag=dice.choice((*CARDS, *CARDS, BAD_CARD)),
        car_a=dice.choice((6.0, 10.0, 16.0, 32.0)),
        plug_first=dice.random() < 0.6,
        gap_s=dice.uniform(1.0, 15.0),
        charge_s=charge_s,
        full_after_s=charge_s * 0.6 if dice.random() < 0.2 else None,
        tries=dice.choice((1, 3, 4)),
        patience_s=dice.choice((6.0, 15.0, 40.0)),
        leaves_by=dice.choice(("card", "card", "card", "plug", "other car")),
        remote=dice.random() < 0.2,
    )


def _faults(dice: random.Random, visits: tuple[people.Plan, ...], *, honest: bool) -> list[Fault]:
    faults: list[Fault] = []
    for visit in visits:
        for _ in range(dice.choice((0, 1, 1, 2, 3))):
            faults += _fault(dice, visit)
        if not honest and dice.random() < 0.5:
            faults += _wrong_time(dice, visit.at_s + _moment(dice, visit))
        if dice.random() < 0.2:
            faults.append(_death_at_start(dice, visit))
        if visit.remote and dice.random() < 0.4:
            faults.append(_held_call(dice, _asked_s(visit)))
    for _ in range(dice.choice((0, 1, 2))):
        faults += _store(dice, visits)
    return [f for f in faults if f.at_s < LAST_FAULT_S]


def _fault(dice: random.Random, visit: people.Plan) -> list[Fault]:
    at_s = visit.at_s + _moment(dice, visit)
    kinds = {
        _crash: 8.0,
        _power_cut: 2.0,
        _central: 5.0,
        _line: 4.0,
        _bus: 3.0,
        _disk: 2.0,
        _device: 3.0,
        _request: 3.0,
    }
    kind = dice.choices(list(kinds), list(kinds.values()))[0]
    return kind(dice, at_s)


def _asked_s(visit: people.Plan) -> float:
    """When somebody uses the card, or the app, for the first time."""
    return visit.at_s + (visit.gap_s if visit.plug_first else 0.0)


def _moment(dice: random.Random, visit: people.Plan) -> float:
    """Seconds after somebody comes: around the plug and the card, in the midst of charging, around the leave."""
    begin_s, end_s = visit.gap_s, visit.gap_s + visit.charge_s
    kind = dice.choice(("begin", "begin", "middle", "end", "end"))
    if kind == "begin":
        return begin_s + dice.uniform(-2.0, 6.0)
    if kind == "middle":
        return dice.uniform(begin_s, end_s)
    return end_s + dice.uniform(-5.0, 15.0)


def _crash(dice: random.Random, at_s: float) -> list[Fault]:
    """Processes die: at once, or after so many more things that they do; several at once at times."""
    names = dice.sample(MONEY_PATH, dice.choice((1, 1, 1, 2, 3)))
    if dice.random() < 0.15:
        names.append(dice.choice(("meter", "rfid")))
    away_s = dice.choice((0.6, 1.0, 3.0, 30.0, 200.0))
    after = dice.choice((None, dice.randrange(1, 12), dice.randrange(1, 40), dice.randrange(1, 80)))
    return [Fault(at_s, "crash", 0.0, (name, after, away_s)) for name in names]


def _power_cut(dice: random.Random, at_s: float) -> list[Fault]:
    """The power fails, at once or when `connectors` or the queue has done so many more things."""
    after = dice.choice((None, dice.randrange(1, 40)))
    process = dice.choice(MONEY_PATH[:2])
    return [Fault(at_s, "power_cut", dice.choice((5.0, 60.0, 1800.0)), (process, after))]


def _central(dice: random.Random, at_s: float) -> list[Fault]:
    """The Central System is away, or in a temper."""
    at_s -= dice.choice((0.0, 5.0, 60.0))
    lasts_s = dice.choice((20.0, 120.0, 900.0, 3000.0))
    if dice.random() < 0.4:
        return [Fault(at_s, "central_away", lasts_s, (dice.random() < 0.3,))]
    return [Fault(at_s, "temper", lasts_s, (_temper(dice),))]


def _temper(dice: random.Random) -> Temper:
    kinds = ("error", "security", "malformed", "silent", "silent after it", "late", "cut before it", "cut after it")
    weight = dice.choice((0.3, 1.0, 3.0))
    transaction = dict.fromkeys(dice.sample(kinds, dice.choice((1, 2, 3))), weight)
    others = dict.fromkeys(dice.sample(("error", "silent", "late", "cut after it"), dice.choice((0, 1, 2))), 0.2)
    return Temper(transaction, others, poison=dice.choice((0.0, 0.0, 0.3)), stray=dice.choice((0.0, 0.5, 1.0)))


def _line(dice: random.Random, at_s: float) -> list[Fault]:
    """The connection is cut, or stalls without a word."""
    if dice.random() < 0.5:
        return [Fault(at_s + 0.02 * dice.randrange(100), "cut_line")]
    return [Fault(at_s, "stall_line")]


def _bus(dice: random.Random, at_s: float) -> list[Fault]:
    """The bus loses, delays and repeats for a while, or the broker restarts."""
    if dice.random() < 0.4:
        return [Fault(at_s, "broker", dice.choice((0.5, 2.0, 20.0)))]
    mood = Mood(
        loss=dice.choice((0.0, 0.05, 0.3)),
        delayed=dice.choice((0.0, 0.3)),
        delay_s=dice.choice((0.5, 4.0, 15.0)),
        repeated=dice.choice((0.0, 0.2)),
    )
    return [Fault(at_s, "bus", dice.choice((10.0, 60.0)), (mood,))]


def _disk(dice: random.Random, at_s: float) -> list[Fault]:
    """The disk is full or read-only, or slow."""
    if dice.random() < 0.5:
        return [Fault(at_s, "slow_disk", 20.0, (dice.choice((0.1, 0.6, 2.0, 6.0)),))]
    error = dice.choice(("database or disk is full", "attempt to write a readonly database", "disk I/O error"))
    return [Fault(at_s, "disk", dice.choice((2.0, 15.0, 120.0)), (error,))]


def _device(dice: random.Random, at_s: float) -> list[Fault]:
    """A device falls silent, a controller trips or starts anew, a service of devices stays away for minutes."""
    connector_id = dice.choice((1, 2))
    kind = dice.choice(("meter", "controller", "ground fault", "controller restarts", "service"))
    lasts_s = dice.choice((3.0, 12.0, 100.0))
    if kind == "service":
        return [Fault(at_s, "crash", 0.0, (dice.choice(("meter", "rfid")), None, dice.choice((60.0, 150.0))))]
    return [Fault(at_s, "device", lasts_s, (connector_id, kind))]


def _request(dice: random.Random, at_s: float) -> list[Fault]:
    """The Central System wants something; at times just when the disk is slow or the bus holds its call back."""
    kind = dice.choice(("stop", "stop", "soft reset", "hard reset", "start"))
    faults = [Fault(at_s, "request", 0.0, (kind, dice.choice(CARDS)))]
    if dice.random() < 0.4:
        faults.append(Fault(at_s - 0.5, "slow_disk", 8.0, (dice.choice((0.6, 6.0)),)))
    if dice.random() < 0.4:
        faults.append(_held_call(dice, at_s))
    return faults


def _deaths_over(sent: tuple[lists.Update, ...]) -> list[Fault]:
    """`connectors` dies among the things that it does when a list is sent."""
    return [
        Fault(one.at_s - 0.001, "crash", 0.0, ("connectors", one.dies_after, 3.0)) for one in sent if one.dies_after is not None
    ]


def _death_at_start(dice: random.Random, visit: people.Plan) -> Fault:
    """`connectors` dies among the things that it does when plug and card are there: reading, commit, order, news."""
    after = dice.randrange(1, 25)
    return Fault(visit.at_s + visit.gap_s - 0.001, "crash", 0.0, ("connectors", after, dice.choice((3.0, 30.0))))


def _deaths_in_retries(dice: random.Random, faults: list[Fault]) -> list[Fault]:
    """The queue dies while a message that has failed waits for its retry, once or a few times."""
    tempers = [fault for fault in faults if fault.what == "temper" and fault.arguments[0].transaction]
    chosen = [fault for fault in tempers if dice.random() < 0.3]
    return [
        Fault(fault.at_s + dice.uniform(1.0, min(fault.lasts_s, 120.0)), "crash", 0.0, ("transaction_queue", None, 1.0))
        for fault in chosen
        for _ in range(dice.choice((1, 2, 4)))
    ]


def _goodbyes(dice: random.Random, visits: tuple[people.Plan, ...]) -> list[Fault]:
    """A maintainer restarts `connectors`, who is told to end and may say what it has to say."""
    chosen = [visit for visit in visits if dice.random() < 0.1]
    return [Fault(visit.at_s + _moment(dice, visit), "end_in_order", 0.0, (dice.choice((0.6, 3.0, 30.0)),)) for visit in chosen]


def _late_calls(dice: random.Random, visits: tuple[people.Plan, ...]) -> list[Fault]:
    """The call of an app comes when the app has been told that nothing will come of it; that it did give up is told nobody."""
    held, lost = Mood(delayed=1.0, delay_s=40.0, only=(_CALLS,)), Mood(loss=1.0, only=(_CANCELLATIONS,))
    faults = []
    for visit in visits:
        if visit.remote and dice.random() < 0.4:
            at_s = _asked_s(visit)
            faults += [Fault(at_s - 0.3, "hold_calls", 1.0, (held,)), Fault(at_s + 3.0, "hold_calls", 6.0, (lost,))]
    return faults


def _swaps(dice: random.Random, visits: tuple[people.Plan, ...]) -> list[Fault]:
    """`connectors` is away just when one car leaves and another one comes: for less than the guard waits, or a bit longer."""
    faults = []
    for visit in visits:
        if visit.leaves_by == "other car" and dice.random() < 0.3:
            at_s = visit.at_s + visit.gap_s + visit.charge_s - dice.uniform(0.0, 6.0)
            faults.append(Fault(at_s, "crash", 0.0, ("connectors", None, dice.choice((9.0, 14.0, 30.0)))))
    return faults


def _dark(dice: random.Random, visits: tuple[people.Plan, ...]) -> list[Fault]:
    """The power fails before a session while nobody can tell the time; at times again, before or after somebody could.

    Only a board without a battery for its clock takes notice; what it does then is told late, by estimate where it never knew.
    """
    faults = []
    for visit in visits:
        if dice.random() < 0.15:
            at_s, away_s = visit.at_s - dice.uniform(10.0, 60.0), dice.choice((150.0, 900.0, 3000.0))
            faults += [Fault(at_s - 5.0, "central_away", away_s, (False,)), Fault(at_s, "power_cut", 5.0, ("connectors", None))]
            if dice.random() < 0.5:
                again_s = visit.at_s + dice.uniform(0.0, visit.gap_s + visit.charge_s + 60.0)
                faults.append(Fault(again_s, "power_cut", dice.choice((5.0, 60.0)), ("connectors", None)))
    return faults


def _held_call(dice: random.Random, at_s: float) -> Fault:
    """The bus is slow just when something is asked for: its call may come after its time."""
    both = (_CALLS, _CANCELLATIONS)
    held = Mood(loss=dice.choice((0.0, 0.3)), delayed=0.8, delay_s=dice.choice((4.0, 15.0)), only=both)
    return Fault(at_s - 0.3, "hold_calls", dice.choice((1.0, 12.0)), (held,))


def _wrong_time(dice: random.Random, at_s: float) -> list[Fault]:
    """Somebody tells the station a time that is wrong, by years at times, and later the right one again."""
    error_s = dice.choice((-3 * YEAR_S, -3600.0, 40.0, 86_400.0, 4 * YEAR_S))
    who = dice.choice(("system", "central"))
    return [Fault(at_s, "wrong_time", dice.choice((20.0, 100.0, 1000.0)), (who, error_s))]


def _store(dice: random.Random, visits: tuple[people.Plan, ...]) -> list[Fault]:
    """A store is lost, or an older copy of it is put back. `connectors.db` not at any time: see `faults.py`.

    The queue's most of all after a session that it could not deliver.
    """
    visit = dice.choice(visits)
    over_s = visit.at_s + visit.gap_s + visit.charge_s + 60.0
    name = dice.choice(("transactions", "transactions", "connectors"))
    at_s = over_s + dice.choice((0.0, 100.0, 1500.0))
    if name == "connectors" and dice.random() < 0.4:
        at_s = visit.at_s + _moment(dice, visit)
    faults = []
    if name == "transactions" and dice.random() < 0.6:
        faults.append(Fault(visit.at_s + dice.choice((-10.0, 60.0)), "central_away", at_s - visit.at_s + 100.0, (False,)))
    if dice.random() < 0.5:
        return [*faults, Fault(at_s, "lose_store", 0.0, (name,))]
    copied = Fault(visit.at_s - dice.choice((10.0, 900.0, 4000.0)), "copy_store", 0.0, (name,))
    return [*faults, copied, Fault(at_s, "put_back_store", 0.0, (name,))]
