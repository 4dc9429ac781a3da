"""RAPI's commands: which text does what to the board (hardware.md §3.1).

Owns: parameters and answers. Does not: know framing (`rapi.py`), or what the board does then (`board.py`).
"""

from collections.abc import Callable

import msgspec

from services.simulator.board import BUTTON_OFF_FLAG, CURRENT_A_MIN, FIRMWARE, Board
from services.simulator.rapi import Request, number

PROTOCOL = "5.2.1"
FIRMWARE_OLD = "4.8.0"
PROTOCOL_OLD = "4.0.1"
_TEMPERATURE_NORMAL, _TEMPERATURE_HOT, _SENSOR_ABSENT = 250, 850, -2560
_ACKNOWLEDGE = 165
_MCU_ID = "414C45420000"
_FEATURES = {"B": BUTTON_OFF_FLAG, "D": 0x0002, "F": 0x0200, "G": 0x0008, "R": 0x0010, "T": 0x0400, "V": 0x0004}
_AUTO_SERVICE_LEVEL_OFF = 0x0020


class Answer(msgspec.Struct, frozen=True):
    """`$OK` or `$NK` with values; `silent`: there is no answer."""

    ok: bool = True
    values: tuple[str, ...] = ()
    silent: bool = False


Handler = Callable[[Board, tuple[str, ...]], Answer]
_REFUSED = Answer(ok=False)
_DONE = Answer()


def execute(board: Board, request: Request, *, old: bool = False) -> Answer:
    """Do what a request says. `old`: answer as firmware of the RAPI 4 era does. Unknown commands are refused."""
    if old and request.name in _OLD_HANDLERS:
        return _OLD_HANDLERS[request.name](board, request.params)
    handler = HANDLERS.get(request.name)
    return _REFUSED if handler is None else handler(board, request.params)


def _values(*values: object) -> Answer:
    return Answer(values=tuple(str(value) for value in values))


def _enable(board: Board, _: tuple[str, ...]) -> Answer:
    board.enable()
    return _DONE


def _sleep(board: Board, _: tuple[str, ...]) -> Answer:
    board.sleep()
    return _DONE


def _disable(board: Board, _: tuple[str, ...]) -> Answer:
    board.disable()
    return _DONE


def _restart(board: Board, _: tuple[str, ...]) -> Answer:
    board.restart()
    return Answer(silent=True)


def _status(board: Board, _: tuple[str, ...]) -> Answer:
    return _values(f"{board.state:02x}", int(board.elapsed_s), f"{board.pilot_code:02x}", f"{board.vflags:04x}")


def _status_old(board: Board, _: tuple[str, ...]) -> Answer:
    return _values(board.state, int(board.elapsed_s))


def _current_and_voltage(board: Board, _: tuple[str, ...]) -> Answer:
    return _values(round(board.current_a * 1000), board.eeprom.voltage_mv)


def _energy(board: Board, _: tuple[str, ...]) -> Answer:
    return _values(int(board.session_ws), board.eeprom.energy_wh)


def _capacity(board: Board, _: tuple[str, ...]) -> Answer:
    return _values(CURRENT_A_MIN, board.current_a_max, board.pilot_a, board.eeprom.current_a)


def _settings(board: Board, _: tuple[str, ...]) -> Answer:
    return _values(board.eeprom.current_a, f"{board.eeprom.flags:04x}")


def _fault_counters(board: Board, _: tuple[str, ...]) -> Answer:
    eeprom = board.eeprom
    return _values(*(f"{count:x}" for count in (eeprom.gfi_trips, eeprom.no_ground_trips, eeprom.stuck_relay_trips)))


def _temperatures(board: Board, _: tuple[str, ...]) -> Answer:
    hot = "overtemp" in board.faults.causes
    return _values(_TEMPERATURE_HOT if hot else _TEMPERATURE_NORMAL, _SENSOR_ABSENT, _SENSOR_ABSENT)


def _connection(board: Board, _: tuple[str, ...]) -> Answer:
    return _values({False: 0, True: 1, None: 2}[board.connected])


def _cable_lock(board: Board, _: tuple[str, ...]) -> Answer:
    return _values(int(board.cable_locked), "M" if board.lock_manual else "A")


def _authorization_lock(board: Board, _: tuple[str, ...]) -> Answer:
    return _values(int(board.auth_locked)) if board.lock_build else _REFUSED


def _real_time_clock(_: Board, __: tuple[str, ...]) -> Answer:
    return _values(0, 1, 1, 0, 0, 0)  # Never set, as on most boards.


def _supervision(board: Board) -> tuple[str, ...]:
    return (str(board.eeprom.heartbeat_s), str(board.eeprom.heartbeat_a), str(board.heartbeat_trigger))


def _heartbeat(board: Board, params: tuple[str, ...]) -> Answer:
    ok = True
    if not params:
        ok = board.pulse()
    elif len(params) == 2:
        board.supervise(number(params[0], 16), number(params[1], 8))
    elif len(params) == 1 and number(params[0], 16) == _ACKNOWLEDGE:
        board.acknowledge()
    else:
        return _REFUSED
    return Answer(ok=ok, values=_supervision(board))


def _set_current(board: Board, params: tuple[str, ...]) -> Answer:
    if not params or params[1:] not in ((), ("V",), ("M",)):
        return _REFUSED
    if params[1:] == ("M",):
        # The installation's maximum was written when this board was installed, and it can be written only once.
        return Answer(ok=False, values=(str(board.current_a_max),))
    taken = board.set_current(number(params[0], 8), volatile=params[1:] == ("V",))
    return Answer(ok=taken, values=(str(board.pilot_a),))


def _set_cable_lock(board: Board, params: tuple[str, ...]) -> Answer:
    if params in (("A",), ("M",)):
        board.lock_manual = params == ("M",)
    elif params in (("0",), ("1",)):
        if board.lock_jammed:
            return _REFUSED
        if board.lock_manual:
            board.lock_closed = params == ("1",)
    else:
        return _REFUSED
    return _DONE


def _set_authorization_lock(board: Board, params: tuple[str, ...]) -> Answer:
    if not board.lock_build or params not in (("0",), ("1",)):
        return _REFUSED
    board.auth_locked = params == ("1",)
    return _DONE


def _end_boot_lock(board: Board, _: tuple[str, ...]) -> Answer:
    if not board.lock_build:
        return _REFUSED
    board.boot_locked = False
    return _DONE


def _service_level(board: Board, params: tuple[str, ...]) -> Answer:
    # A European unit is fixed to level 2.
    if params not in (("1",), ("2",), ("A",)):
        return _REFUSED
    board.eeprom.flags |= 0x0001 | _AUTO_SERVICE_LEVEL_OFF
    return _DONE


def _feature(board: Board, params: tuple[str, ...]) -> Answer:
    if len(params) != 2 or params[1] not in ("0", "1") or params[0] not in {*_FEATURES, "E"}:
        return _REFUSED
    flag = _FEATURES.get(params[0], 0)  # E, the echo, is kept nowhere; `openevse.py` looks after it.
    board.eeprom.flags = board.eeprom.flags & ~flag if params[1] == "1" else board.eeprom.flags | flag
    return _DONE


def _time_limit(board: Board, params: tuple[str, ...]) -> Answer:
    if len(params) != 1:
        return _REFUSED
    board.time_limit_quarters = number(params[0], 8)
    return _DONE


def _charge_limit(board: Board, params: tuple[str, ...]) -> Answer:
    if len(params) != 1:
        return _REFUSED
    board.charge_limit_kwh = number(params[0], 8)
    return _DONE


def _timer(board: Board, params: tuple[str, ...]) -> Answer:
    if len(params) != 4:
        return _REFUSED
    board.timer_on = any(number(param, 8) for param in params)
    return _DONE


def _set_energy(board: Board, params: tuple[str, ...]) -> Answer:
    if len(params) != 1:
        return _REFUSED
    board.eeprom.energy_wh = number(params[0])
    return _DONE


def _set_voltage(board: Board, params: tuple[str, ...]) -> Answer:
    if len(params) != 1:
        return _REFUSED
    board.eeprom.voltage_mv = number(params[0])
    return _DONE


def _button(board: Board, _: tuple[str, ...]) -> Answer:
    board.press_button()
    return _DONE


def _accepted(least: int) -> Handler:
    """Display, clock and calibration: taken and without effect on anything that a station sees."""
    return lambda _, params: _DONE if len(params) >= least else _REFUSED


HANDLERS: dict[str, Handler] = {
    "FE": _enable,
    "FS": _sleep,
    "FD": _disable,
    "FR": _restart,
    "FF": _feature,
    "F0": _accepted(1),
    "F1": _button,
    "FB": _accepted(1),
    "FP": _accepted(2),
    "GS": _status,
    "GG": _current_and_voltage,
    "GU": _energy,
    "GV": lambda *_: _values(FIRMWARE, PROTOCOL),
    "GC": _capacity,
    "GE": _settings,
    "GF": _fault_counters,
    "GP": _temperatures,
    "GI": lambda *_: Answer(values=("", _MCU_ID)),  # Its reply has two spaces.
    "GY": lambda board, _: Answer(values=_supervision(board)),
    "G0": _connection,
    "G3": lambda board, _: _values(board.time_limit_quarters),
    "G4": _authorization_lock,
    "G5": _cable_lock,
    "GA": lambda *_: _values(220, 0),
    "GD": lambda *_: _values(0, 0, 0, 0),
    "GH": lambda board, _: _values(board.charge_limit_kwh),
    "GO": lambda *_: _values(650, 700),
    "GT": _real_time_clock,
    "S0": _accepted(1),
    "S1": _accepted(6),
    "S2": _accepted(1),
    "S3": _time_limit,
    "S4": _set_authorization_lock,
    "S5": _set_cable_lock,
    "SA": _accepted(2),
    "SB": _end_boot_lock,
    "SC": _set_current,
    "SH": _charge_limit,
    "SK": _set_energy,
    "SL": _service_level,
    "ST": _timer,
    "SV": _set_voltage,
    "SY": _heartbeat,
}
_OLD_HANDLERS: dict[str, Handler] = {"GS": _status_old, "GV": lambda *_: _values(FIRMWARE_OLD, PROTOCOL_OLD)}
