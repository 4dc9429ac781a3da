"""What the demo says: entries of the book and facts of the virtual hardware as lines for a newcomer (pure).

Owns: words, columns and colours. Does not: print; `play.py` does. No line is wider than WIDTH, but for commands to be copied.
"""

from typing import Any

import msgspec

from services.demo.entries import Entry, Kind, What

WIDTH = 100
_TEXT_WIDTH = 55
_ARROWS = {What.RECEIVED: "──▶ central", What.SENT: "◀── central"}
_NO_ARROW = "─" * 11
_COLOURS = {"step": "1", "call": "36", "answer": "2", "bad": "31", "power": "33", "good": "32", "plain": ""}
_FIELDS = ("connectorId", "idTag", "transactionId", "status", "errorCode", "key", "value", "type", "requestedMessage")
_NUMBERS = {"W": (1000, "kW", 2), "A": (1, "A", 1), "V": (1, "V", 0), "Wh": (1, "Wh", 0), "kWh": (0.001, "Wh", 0)}
"""How a value in this unit is shown: divisor, unit, decimals."""


class Line(msgspec.Struct, frozen=True):
    """A line and what it is: step, call, answer, bad, power, good or plain."""

    text: str
    kind: str = "plain"


def rendered(line: Line, *, colours: bool) -> str:
    """The line as it is printed."""
    code = _COLOURS[line.kind]
    return f"\x1b[{code}m{line.text}\x1b[0m" if colours and code else line.text


def step(number: int, text: str, why: str) -> list[Line]:
    """A step of the session: what is done, and what is to be seen."""
    return [Line(""), Line(cut(f"{number}. {text}"), "step"), *(Line(part) for part in wrapped(why, indent=3))]


def told(entry: Entry) -> list[Line]:
    """An entry of the book; nothing for what says nothing, such as an empty answer."""
    if entry.what is What.OPENED:
        return [_line(entry, _NO_ARROW, "", f"{entry.identity} has connected by WebSocket, subprotocol ocpp1.6", "answer")]
    if entry.what is What.CLOSED:
        return [_line(entry, _NO_ARROW, "", f"the connection of {entry.identity} has ended ({entry.text})", "answer")]
    if entry.what is What.REFUSED:
        return [_line(entry, _NO_ARROW, "", f"a connection was refused: {entry.text}", "bad")]
    lines = _message(entry)
    return lines + [Line(cut(f"   against the rules: {violation}"), "bad") for violation in entry.violations]


def hardware(facts: dict[str, Any]) -> Line:
    """Power and energy at a connector, from the simulator's own facts."""
    meter, car = facts["meter"], facts["car"]
    power_kw, drawing_a = float(meter["power_w"]) / 1000, float(car["drawing_a"])
    text = f"the car draws {drawing_a:.1f} A: {power_kw:.2f} kW; the meter shows {meter['shown_wh']:,} Wh"
    return Line(cut(f"   ⚡ {text}"), "power")


def outcome(problems: list[str], energy_wh: int | None) -> list[Line]:
    """What the session came to."""
    if not problems:
        text = f"The Central System holds one transaction of {energy_wh} Wh, exactly what the virtual meter counted."
        return [Line(""), Line(cut(f"✔ {text}"), "good")]
    head = [Line(""), Line("✘ The session did not come out right:", "bad")]
    return head + [Line(part, "bad") for problem in problems for part in wrapped(f"- {problem}", indent=2)]


def invitation(station: str, state_dir: str) -> list[Line]:
    """How to play along from a second terminal."""
    sim = f"{station} sim --state-dir {state_dir}"
    commands = (
        (f"{sim} plug-in 1", "a car arrives"),
        (f"{sim} swipe 04A2B3C4D5", "present a card, again to stop"),
        (f"{sim} ev-max 1 10", "the car draws 10 A at most"),
        (f"{sim} fault 1 gfci", "residual current; clear-fault 1 gfci"),
        (f"{sim} plug-out 1", "works under load too"),
        (f"{station} status --state-dir {state_dir}", "is it well?"),
        (f"{station} logs --state-dir {state_dir} --follow", "what the services say"),
        (f"{station} restart connectors --state-dir {state_dir}", "safe while the car charges"),
    )
    lines = [Line(""), Line("The station stays up. Play along from a second terminal:", "step")]
    for command, comment in commands:
        lines += [Line(f"   # {comment}", "answer"), Line(f"   {command}")]
    return [*lines, Line(""), Line("What happens is shown here. Ctrl-C ends everything.", "step")]


def cut(text: str, width: int = WIDTH) -> str:
    """At most `width` columns, on one line whatever is in it."""
    text = "".join(char if char.isprintable() else "·" for char in text)
    return text if len(text) <= width else text[: width - 1] + "…"


def wrapped(text: str, *, indent: int, width: int = WIDTH) -> list[str]:
    """Words in lines of at most `width` columns."""
    lines, current = [], ""
    for word in text.split():
        if current and indent + len(current) + 1 + len(word) > width:
            lines.append(current)
            current = word
        else:
            current = f"{current} {word}".strip()
    lines.append(current)
    return [cut(" " * indent + line, width) for line in lines if line]


def _message(entry: Entry) -> list[Line]:
    arrow = _ARROWS.get(entry.what)
    if arrow is None:
        text = "was not answered" if entry.what is What.DROPPED else "was processed, the answer was withheld"
        return [_line(entry, _NO_ARROW, entry.action, text, "bad")]
    if entry.kind is Kind.NONE:
        return [_line(entry, arrow, "?", "no OCPP message", "bad")]
    if entry.kind is Kind.CALLERROR:
        return [_line(entry, arrow, entry.action, f"error {entry.payload['code']}: {entry.payload['description']}", "bad")]
    if not isinstance(entry.payload, dict):
        return [_line(entry, arrow, entry.action, "a payload that is no object", "bad")]
    if entry.kind is Kind.CALL:
        return [_line(entry, arrow, entry.action, _call_text(entry.action, entry.payload), "call")]
    text = _answer_text(entry.action, entry.payload)
    return [_line(entry, arrow, "", text, "answer")] if text else []


def _line(entry: Entry, arrow: str, action: str, text: str, kind: str) -> Line:
    clock = entry.at[11:19]
    if not action:
        return Line(cut(f"   {clock}  {arrow}  {text}"), kind)
    return Line(cut(f"   {clock}  {arrow}  {action:<18} {cut(text, _TEXT_WIDTH)}".rstrip()), kind)


def _call_text(action: str, payload: dict[str, Any]) -> str:
    match action:
        case "BootNotification":
            names = ("chargePointVendor", "chargePointModel", "chargePointSerialNumber", "firmwareVersion")
            return ", ".join(str(payload[name]) for name in names if payload.get(name))
        case "StatusNotification":
            return _status_text(payload)
        case "Authorize":
            return f"may {payload.get('idTag')} charge?"
        case "StartTransaction":
            return f"connector {payload.get('connectorId')}, {payload.get('idTag')}, meter {payload.get('meterStart')} Wh"
        case "StopTransaction":
            text = f"transaction {payload.get('transactionId')}, meter {payload.get('meterStop')} Wh"
            return f"{text}, {payload.get('reason', 'Local')}"
        case "MeterValues":
            return _meter_values_text(payload)
        case "Heartbeat":
            return "still there"
    return _fields_text(payload)


def _status_text(payload: dict[str, Any]) -> str:
    connector_id = payload.get("connectorId")
    who = "charge point" if connector_id == 0 else f"connector {connector_id}"
    error = payload.get("errorCode", "NoError")
    details = [payload.get("info"), payload.get("vendorErrorCode")]
    more = "" if error == "NoError" else f" ({', '.join(str(part) for part in [error, *details] if part)})"
    return f"{who} is {payload.get('status')}{more}"


def _meter_values_text(payload: dict[str, Any]) -> str:
    """Each measurand once: the total if there is one, else the first phase."""
    chosen: dict[str, dict[str, Any]] = {}
    for value in _objects(_last(_objects(payload.get("meterValue"))).get("sampledValue")):
        measurand = str(value.get("measurand", "Energy.Active.Import.Register"))
        if measurand not in chosen or ("phase" in chosen[measurand] and "phase" not in value):
            chosen[measurand] = value
    return ", ".join(_value_text(value) for value in chosen.values()) or "no values"


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _last(values: list[dict[str, Any]]) -> dict[str, Any]:
    return values[-1] if values else {}


def _value_text(value: dict[str, Any]) -> str:
    unit = str(value.get("unit", "Wh"))
    text = str(value.get("value"))
    phase = f" on {value['phase']}" if "phase" in value else ""
    if unit in _NUMBERS:
        divisor, shown_unit, decimals = _NUMBERS[unit]
        try:
            return f"{float(text) / divisor:.{decimals}f} {shown_unit}{phase}"
        except ValueError:
            pass
    return f"{text} {unit}{phase}"


def _answer_text(action: str, payload: dict[str, Any]) -> str:
    if action == "BootNotification":
        return f"{payload.get('status')}; a Heartbeat every {payload.get('interval')} s, please"
    if action == "Heartbeat":
        return ""
    info = payload.get("idTagInfo")
    parts = [str(info.get("status"))] if isinstance(info, dict) else []
    if action == "StartTransaction":
        parts.append(f"this is transaction {payload.get('transactionId')}")
    if parts:
        return ", ".join(parts)
    return _fields_text(payload)


def _fields_text(payload: dict[str, Any]) -> str:
    known = [f"{name} {payload[name]}" for name in _FIELDS if name in payload]
    others = [name for name in payload if name not in _FIELDS]
    return ", ".join(known + others)
