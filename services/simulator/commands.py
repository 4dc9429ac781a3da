"""Hands on the virtual hardware: the commands of `station sim` (see `python -m services.simulator --help` for the list).

Owns: their names, arguments and refusals. Does not: move bytes or time. A command returns when the hardware has it, and
is no error where the hardware is so already.
"""

import math
from collections.abc import Callable
from typing import Any

import msgspec

from services.simulator.circuit import REGISTER_WH_MAX
from services.simulator.faults import KINDS, LOCK
from services.simulator.pty_port import PortError, PtyPort, Tap
from services.simulator.rdm6300 import TagError
from services.simulator.rig import Rig
from services.simulator.world import Connector

CAR_A_MAX = 80.0
_FAULTS = sorted((*KINDS, LOCK))
_ARGS_MAX = 8


class Refusal(Exception):
    """A command that can't be carried out; the text is one line that says what is allowed."""


class Command(msgspec.Struct, frozen=True):
    """`usage` is the command line; `handler` gets as many arguments as `counts` allows. `changes`: more than it tells."""

    usage: str
    counts: tuple[int, ...]
    handler: Callable[[Rig, list[str]], dict[str, Any]]
    changes: bool = True


def answer(rig: Rig, request: Any) -> dict[str, Any]:
    """Carry out a decoded request `{"command": …, "args": […]}`; never raises."""
    try:
        command, args = _request(request)
        rig.advance()
        facts = command.handler(rig, args)
        rig.settle(touched=command.changes)
    except (Refusal, TagError, PortError) as error:
        return {"ok": False, "reason": str(error)}
    return {"ok": True, **facts}


def usage() -> str:
    """All commands, one a line."""
    return "\n".join(command.usage for command in COMMANDS.values())


def _request(request: Any) -> tuple[Command, list[str]]:
    if not isinstance(request, dict) or not isinstance(request.get("command"), str):
        raise Refusal('a request is {"command": "…", "args": ["…"]}')
    name, args = request["command"], request.get("args", [])
    if not isinstance(args, list) or len(args) > _ARGS_MAX or not all(isinstance(arg, str) for arg in args):
        raise Refusal(f"args must be a list of at most {_ARGS_MAX} texts")
    command = COMMANDS.get(name)
    if command is None:
        raise Refusal(f"there is no command {name[:40]!r}; there are {', '.join(COMMANDS)}")
    if len(args) not in command.counts:
        raise Refusal(f"write it as: {command.usage}")
    return command, args


def _ready(rig: Rig, _: list[str]) -> dict[str, Any]:
    for number, connector in rig.world.connectors.items():
        if connector.board.booting:
            raise Refusal(f"the controller of connector {number} is still starting")
    return {}


def _state(rig: Rig, _: list[str]) -> dict[str, Any]:
    return {"state": rig.facts()}


def _plug_in(rig: Rig, args: list[str]) -> dict[str, Any]:
    rig.world.plug_in(_connector(rig, args[0]).id)
    return {}


def _plug_out(rig: Rig, args: list[str]) -> dict[str, Any]:
    rig.world.plug_out(_connector(rig, args[0]).id)
    return {}


def _swipe(rig: Rig, args: list[str]) -> dict[str, Any]:
    if rig.world.reader is None:
        raise Refusal("this station has no reader; give its configuration a [reader] section")
    if not rig.ports["reader"].plugged:
        raise Refusal("the reader is unplugged; use replug-device reader first")
    rig.world.swipe(args[0])
    return {}


def _pause(rig: Rig, args: list[str]) -> dict[str, Any]:
    _connector(rig, args[0]).car.paused = True
    return {}


def _resume(rig: Rig, args: list[str]) -> dict[str, Any]:
    car = _connector(rig, args[0]).car
    car.paused = car.full = car.holds_on = False
    return {}


def _hold(rig: Rig, args: list[str]) -> dict[str, Any]:
    _connector(rig, args[0]).car.holds_on = True
    return {}


def _full(rig: Rig, args: list[str]) -> dict[str, Any]:
    _connector(rig, args[0]).car.full = True
    return {}


def _max(rig: Rig, args: list[str]) -> dict[str, Any]:
    _connector(rig, args[0]).car.max_a = _number(args[1], "AMPS", CAR_A_MAX)
    return {}


def _set_meter(rig: Rig, args: list[str]) -> dict[str, Any]:
    rig.world.set_meter(_connector(rig, args[0]).id, _number(args[1], "WH", REGISTER_WH_MAX))
    return {}


def _fault(rig: Rig, args: list[str]) -> dict[str, Any]:
    connector, kind = _connector(rig, args[0]), _kind(args[1])
    if kind == LOCK and not connector.socket:
        raise Refusal(f'connector {connector.id} has a fixed cable and no lock; give it cable = "socket"')
    if kind != LOCK and kind not in connector.board.kinds:
        raise Refusal(
            f"the controller of connector {connector.id} can't have it; it has {', '.join(sorted(connector.board.kinds))}"
        )
    rig.world.set_fault(connector.id, kind, present=True)
    return {}


def _power_cycle(rig: Rig, args: list[str]) -> dict[str, Any]:
    _connector(rig, args[0]).board.power_up()
    return {}


def _clear_fault(rig: Rig, args: list[str]) -> dict[str, Any]:
    rig.world.set_fault(_connector(rig, args[0]).id, _kind(args[1]), present=False)
    return {}


def _estop(rig: Rig, args: list[str]) -> dict[str, Any]:
    if args[0] not in ("on", "off"):
        raise Refusal("write it as: estop on|off")
    rig.set_estop(args[0] == "on")
    return {}


def _unplug_device(rig: Rig, args: list[str]) -> dict[str, Any]:
    _port(rig, args).unplug()
    return {}


def _replug_device(rig: Rig, args: list[str]) -> dict[str, Any]:
    _port(rig, args).plug()
    return {}


def _connector(rig: Rig, text: str) -> Connector:
    connectors = rig.world.connectors
    for number, connector in connectors.items():
        if text == str(number):
            return connector
    raise Refusal(f"there is no connector {text[:40]!r}; there is {', '.join(map(str, connectors))}")


def _kind(text: str) -> str:
    if text not in _FAULTS:
        raise Refusal(f"there is no fault {text[:40]!r}; there are {', '.join(_FAULTS)}")
    return text


def _number(text: str, name: str, high: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= high:
        raise Refusal(f"{name} is {text[:40]!r}; it must be a number from 0 to {high:.0f}")
    return value


def _port(rig: Rig, args: list[str]) -> PtyPort | Tap:
    port = rig.ports.get("-".join(args))
    if port is None:
        raise Refusal(f"there is no device {' '.join(args)[:40]!r}; there is {', '.join(map(_spoken, rig.ports))}")
    return port


def _spoken(port_name: str) -> str:
    return port_name.replace("-", " ")


COMMANDS: dict[str, Command] = {
    "ready": Command("ready", (0,), _ready, changes=False),
    "plug-in": Command("plug-in N", (1,), _plug_in),
    "plug-out": Command("plug-out N", (1,), _plug_out),
    "swipe": Command("swipe TAG", (1,), _swipe),
    "ev-pause": Command("ev-pause N", (1,), _pause),
    "ev-resume": Command("ev-resume N", (1,), _resume),
    "ev-full": Command("ev-full N", (1,), _full),
    "ev-hold": Command("ev-hold N", (1,), _hold),
    "ev-max": Command("ev-max N AMPS", (2,), _max),
    "set-meter": Command("set-meter N WH", (2,), _set_meter),
    "fault": Command(f"fault N {'|'.join(_FAULTS)}", (2,), _fault),
    "clear-fault": Command(f"clear-fault N {'|'.join(_FAULTS)}", (2,), _clear_fault),
    "power-cycle": Command("power-cycle N", (1,), _power_cycle),
    "estop": Command("estop on|off", (1,), _estop),
    "unplug-device": Command("unplug-device evse N|meter N|line N|reader", (1, 2), _unplug_device),
    "replug-device": Command("replug-device evse N|meter N|line N|reader", (1, 2), _replug_device),
    "state": Command("state", (0,), _state, changes=False),
}
