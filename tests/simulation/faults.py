"""How each fault of a plan is done to the world, and how it ends.

Owns: one function for each name that a plan may use. Does not: choose (`plan.py`).
"""

from typing import TYPE_CHECKING, Any

from tests.simulation import bus, central_system
from tests.simulation.ledger import TOLD_TO_END, Span
from tests.simulation.processes import ConnectorsProcess

if TYPE_CHECKING:
    from tests.simulation.plan import Fault
    from tests.simulation.world import World


def begin(world: "World", fault: "Fault") -> None:
    """The fault's time has come."""
    ACTIONS[fault.what](world, fault.lasts_s, *fault.arguments)
    world.wake(4.0)


def end_all(world: "World") -> None:
    """From now on nothing goes wrong any more."""
    world.central.reachable = True
    world.central.temper = central_system.CALM
    world.bus.mood = bus.CALM
    world.disk.error, world.disk.slow_s = "", 0.0
    for what in ("bus bad", "disk bad"):
        world.ledger.end(what, world.clock.true_s)
    for number, point in world.points.items():
        device(world, 0.0, number, "well again")
        point.fault(False)
    if world.day.syncs_after_s is not None:
        world.clock.set_system(0.0)
    world.central.clock_error_s = 0.0
    for process in world.processes.values():
        process.life.left = None
    world.power_fails_with.clear()


def crash(world: "World", _: float, name: str, after: int | None, away_s: float) -> None:
    """A process dies, at once or after so many things that it does."""
    process = world.processes.get(name)
    if process is None:
        return
    world.away_s[name] = away_s
    if after is None:
        world.story.tell("fault", f"{name} is killed, for {away_s:.0f} s")
        world.kill(name)
    else:
        process.life.left = after


def end_in_order(world: "World", _: float, away_s: float) -> None:
    """`connectors` is told to end, by SIGTERM."""
    process = world.processes.get("connectors")
    if isinstance(process, ConnectorsProcess):
        world.away_s["connectors"] = away_s
        world.story.tell("fault", f"connectors is told to end, for {away_s:.0f} s")
        told_s = world.clock.true_s
        process.turn(process.service.end)
        world.kill("connectors")
        world.ledger.spans.append(Span(TOLD_TO_END, told_s, world.clock.true_s + away_s))


def power_cut(world: "World", lasts_s: float, name: str, after: int | None) -> None:
    """The power fails, at once or when a process has done so many things."""
    process = world.processes.get(name)
    if after is None or process is None:
        world.power_cut(lasts_s)
    else:
        process.life.left = after
        world.power_fails_with[name] = lasts_s


def central_away(world: "World", lasts_s: float, forgets: bool) -> None:
    """The Central System restarts, or can't be reached for a while."""
    world.story.tell("fault", f"the Central System is away for {lasts_s:.0f} s{', and forgets' if forgets else ''}")
    world.central.reachable = False
    world.central.restart(forgets=forgets)
    _span(world, "central bad", lasts_s, lambda: setattr(world.central, "reachable", True))


def temper(world: "World", lasts_s: float, temper: central_system.Temper) -> None:
    """The Central System misbehaves."""
    world.story.tell("fault", f"the Central System is in a temper for {lasts_s:.0f} s: {_words(temper)}")
    world.central.temper = temper
    _span(world, "central bad", lasts_s, lambda: setattr(world.central, "temper", central_system.CALM))


def cut_line(world: "World", _: float) -> None:
    """The connection is reset."""
    if world.central.line is not None:
        world.story.tell("fault", "the connection is cut")
        world.central.line.drop("connection reset")
        _span(world, "central bad", 30.0, lambda: None)


def stall_line(world: "World", _: float) -> None:
    """The connection carries nothing any more, and nobody is told."""
    if world.central.line is not None:
        world.story.tell("fault", "the connection stalls")
        world.central.line.stalled = True
        _span(world, "central bad", 240.0, lambda: None)


def bus_trouble(world: "World", lasts_s: float, mood: bus.Mood) -> None:
    """The bus loses, delays and repeats."""
    world.story.tell("fault", f"the bus is bad for {lasts_s:.0f} s: {mood}")
    world.bus.mood = mood
    _span(world, "bus bad", lasts_s, lambda: setattr(world.bus, "mood", bus.CALM))


def hold_calls(world: "World", lasts_s: float, mood: bus.Mood) -> None:
    """Calls to `connectors`, and their cancellations, are lost or come late; all else is well."""
    world.story.tell("fault", f"calls to connectors are held back for {lasts_s:.0f} s")
    world.bus.mood = mood
    _span(world, "calls held", lasts_s, lambda: setattr(world.bus, "mood", bus.CALM))


def broker(world: "World", lasts_s: float) -> None:
    """The broker restarts."""
    if not world.bus.up:
        return
    world.story.tell("fault", f"the broker is away for {lasts_s:.1f} s")
    world.bus.stop()
    _span(world, "broker down", lasts_s, world.start_broker)


def full_disk(world: "World", lasts_s: float, error: str) -> None:
    """Nothing can be committed."""
    world.story.tell("fault", f"the disk fails for {lasts_s:.0f} s: {error}")
    world.disk.error = error
    _span(world, "disk bad", lasts_s, lambda: setattr(world.disk, "error", ""))


def slow_disk(world: "World", lasts_s: float, takes_s: float) -> None:
    """Each commit takes its time."""
    world.story.tell("fault", f"each commit takes {takes_s} s, for {lasts_s:.0f} s")
    world.disk.slow_s = takes_s
    _span(world, "disk bad", lasts_s, lambda: setattr(world.disk, "slow_s", 0.0))


def device(world: "World", lasts_s: float, number: int, kind: str) -> None:
    """Something at a connector does not work for a while."""
    point = world.points.get(number)
    if point is None:
        return
    if kind == "well again":
        point.answers = point.meter_answers = True
        for what in (f"meter {number} silent", f"controller {number} silent"):
            world.ledger.end(what, world.clock.true_s)
        return
    world.story.tell("fault", f"connector {number}: {kind}, for {lasts_s:.0f} s")
    if kind == "meter":
        point.meter_answers = False
        _span(world, f"meter {number} silent", lasts_s, lambda: setattr(point, "meter_answers", True))
    elif kind == "controller":
        point.answers = False
        _span(world, f"controller {number} silent", lasts_s, lambda: setattr(point, "answers", True))
    elif kind == "ground fault":
        point.fault(True)
        world.ledger.begin(f"connector {number} faulted", world.clock.true_s)
        _until(world, lasts_s, lambda: ground_fault_ends(world, number))
    else:
        point.restart_controller()


def ground_fault_ends(world: "World", number: int) -> None:
    """The controller closes again."""
    world.points[number].fault(False)
    world.ledger.end(f"connector {number} faulted", world.clock.true_s)


def request(world: "World", _: float, kind: str, id_tag: str) -> None:
    """The Central System asks for something."""
    running = world.central.running()
    if kind == "stop" and running:
        world.central.ask("RemoteStopTransaction", {"transactionId": running[-1]})
    elif kind == "start":
        world.central.ask("RemoteStartTransaction", {"idTag": id_tag})
    elif kind in ("soft reset", "hard reset"):
        world.central.ask("Reset", {"type": kind.split()[0].capitalize()})


def wrong_time(world: "World", lasts_s: float, who: str, error_s: float) -> None:
    """A source of time is wrong, and right again later."""
    world.story.tell("fault", f"the {who} clock is wrong by {error_s:.0f} s, for {lasts_s:.0f} s")
    if who == "central":
        world.central.clock_error_s = error_s
        if world.central.line is not None:
            world.central.line.drop("connection reset")
        _until(world, lasts_s, lambda: setattr(world.central, "clock_error_s", 0.0))
    elif world.clock.synchronised:
        world.clock.set_system(error_s)
        _until(world, lasts_s, lambda: world.clock.set_system(0.0))


def lose_store(world: "World", _: float, name: str) -> None:
    """A store is gone; its service starts with an empty one."""
    _exchange(world, name, lambda file: world.disk.lose(file) or True)


def copy_store(world: "World", _: float, name: str) -> None:
    """Somebody makes a copy."""
    if (world.disk.directory / f"{name}.db").exists():
        world.disk.copy(f"{name}.db", f"{name}.copy")


def put_back_store(world: "World", off_s: float, name: str) -> None:
    """The copy takes the store's place; `off_s`: while the power is off for so long, else at once."""
    _exchange(world, name, lambda file: world.disk.put_back(f"{name}.copy", file), off_s)


def _exchange(world: "World", name: str, act: Any, off_s: float = 0.0) -> None:
    """Not while only this store knows something: that can't come back."""
    service = {"transactions": "transaction_queue", "connectors": "connectors"}[name]
    if not world.powered or service not in world.processes or not world.may_lose(name):
        return
    if off_s:
        world.power_cut(off_s)
    else:
        world.kill(service)
    world.keep_dead_letters()
    if act(f"{name}.db"):
        world.store_lost(f"{name}.db")


def _span(world: "World", what: str, lasts_s: float, end: Any) -> None:
    """Two of a kind may overlap: each has its own time."""
    span = Span(what, world.clock.true_s)
    world.ledger.spans.append(span)

    def ends() -> None:
        end()
        world.wake_after_trouble()
        span.to_s = min(span.to_s, world.clock.true_s)

    _until(world, lasts_s, ends)


def _until(world: "World", lasts_s: float, end: Any) -> None:
    world.agenda.at(world.clock.true_s + lasts_s, end)


def _words(temper: central_system.Temper) -> str:
    words = [*temper.transaction, *(f"{kind} to others" for kind in temper.others)]
    return ", ".join(words) + (f", poison {temper.poison}" if temper.poison else "")


ACTIONS: dict[str, Any] = {
    "crash": crash,
    "end_in_order": end_in_order,
    "power_cut": power_cut,
    "central_away": central_away,
    "temper": temper,
    "cut_line": cut_line,
    "stall_line": stall_line,
    "bus": bus_trouble,
    "hold_calls": hold_calls,
    "broker": broker,
    "disk": full_disk,
    "slow_disk": slow_disk,
    "device": device,
    "request": request,
    "wrong_time": wrong_time,
    "lose_store": lose_store,
    "copy_store": copy_store,
    "put_back_store": put_back_store,
}
