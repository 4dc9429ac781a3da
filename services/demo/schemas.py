"""What the `ocpp` package's JSON schemas say of a message: the judge that knows nothing of our own types.

Owns: the overrides of schemas that are wrong. Does not: decide what happens to a message that breaks one.

Overrides, each with its reason:
- `StopTransaction.req`, unit of a sampled value: `Hertz` is allowed. OCPP 1.6 edition 2 and errata v4.0 3.84 (§7.31) let a
  Frequency have no unit, and the package's own schema for MeterValues.req knows Hertz; the two differ only by oversight.
- Formats `date-time` are checked here; the package leaves them unchecked.

The errors that the OCPP-J errata list in the schemas of 2015 are already put right in the package's: 2.1 (Celsius beside
Celcius), 2.2 (SendLocalList idTagInfo), 2.3 (interval is an integer), 2.4 (retries, retryInterval), 2.5 (reason is
optional). `tests/demo` holds the package to that.
"""

import copy
import json
import re
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any

from jsonschema import Draft4Validator, FormatChecker
from ocpp.messages import get_validator

UNIQUE_ID_LENGTH_MAX = 36
"""OCPP-J 1.6 §4.1.4."""
CALL = 2
CALLRESULT = 3
CALLERROR = 4
ERROR_CODES = frozenset(
    {
        "NotImplemented",
        "NotSupported",
        "InternalError",
        "ProtocolError",
        "SecurityError",
        # OCPP-J errata 5.1, 5.2: misspelt in the specification, and to stay so.
        "FormationViolation",
        "OccurenceConstraintViolation",
        "PropertyConstraintViolation",
        "TypeConstraintViolation",
        "GenericError",
    }
)
"""OCPP-J 1.6 §4.2.3."""
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
_FORMATS = FormatChecker(formats=())


def violation(message_type: int, action: str, payload: Any) -> str:
    """What is wrong with the payload of a CALL or CALLRESULT of this action; empty if nothing is."""
    validator = _validator(message_type, action)
    if validator is None:
        return f"{action} is no action of OCPP 1.6"
    errors = [_described(error) for error in validator.iter_errors(_exact(payload))]
    return "; ".join(sorted(errors))


def frame_violation(frame: Any, action_of: Callable[[str], str | None]) -> str:
    """What is wrong with a whole message of a station (OCPP-J 1.6 §4.2); empty if nothing is.

    `action_of` tells what a CALL of the Central System asked, by its unique id; of an id without one the payload is not judged.
    """
    match frame:
        case [2, str(unique_id), str(action), dict(payload)] if 0 < len(unique_id) <= UNIQUE_ID_LENGTH_MAX:
            return violation(CALL, action, payload)
        case [3, str(unique_id), dict(payload)]:
            asked = action_of(unique_id)
            return "" if asked is None else violation(CALLRESULT, asked, payload)
        case [4, str(), str(code), str(description), dict()] if len(description) <= 255:
            return "" if code in ERROR_CODES else f"{code} is no error code of OCPP-J"
    return f"{json.dumps(frame)[:120]} is no message of OCPP-J"


def known_action(action: str) -> bool:
    """Whether the package has a schema for this action."""
    return _validator(CALL, action) is not None


def is_date_time(text: str) -> bool:
    """Whether `text` is an RFC 3339 time that exists."""
    if not _DATE_TIME.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(re.sub(r"\.(\d{1,6})\d*", lambda found: f".{found[1]:0<6}", text))
    except ValueError:
        return False
    return True


@cache
def _validator(message_type: int, action: str) -> Draft4Validator | None:
    if not re.fullmatch(r"[A-Za-z]{1,50}", action) or action.endswith("Response"):
        return None
    try:
        # Decimal, because multipleOf 0.1 is not decidable with binary floats.
        schema = get_validator(message_type, action, "1.6", parse_float=Decimal).schema
    except OSError:
        return None
    schema = copy.deepcopy(schema)
    if message_type == CALL and action == "StopTransaction":
        _stop_transaction_units(schema).append("Hertz")
    return Draft4Validator(schema, format_checker=_FORMATS)


def _stop_transaction_units(schema: Any) -> Any:
    value = schema["properties"]["transactionData"]["items"]["properties"]
    return value["sampledValue"]["items"]["properties"]["unit"]["enum"]


def _exact(payload: Any) -> Any:
    return json.loads(json.dumps(payload), parse_float=Decimal)


def _described(error: Any) -> str:
    path = ".".join(str(part) for part in error.absolute_path)
    return f"{path}: {error.message}" if path else str(error.message)


_FORMATS.checks("date-time")(lambda value: not isinstance(value, str) or is_date_time(value))
