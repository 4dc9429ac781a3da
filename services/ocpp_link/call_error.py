"""CALLERROR: its codes and what one says (OCPP-J 1.6 §4.2.3).

Owns: the words. Does not: decide which code a mistake gets (`actions.py` for payloads, `rpc.py` for frames).
"""

from enum import StrEnum

import msgspec

DESCRIPTION_LENGTH_MAX = 255
"""Characters of an errorDescription that we send; OCPP-J 1.6 names no bound, later versions do."""


class ErrorCode(StrEnum):
    """Spelled as printed, slips included (OCPP-J errata 5.1 and 5.2: not to be corrected in 1.6)."""

    NOT_IMPLEMENTED = "NotImplemented"
    NOT_SUPPORTED = "NotSupported"
    INTERNAL_ERROR = "InternalError"
    PROTOCOL_ERROR = "ProtocolError"
    SECURITY_ERROR = "SecurityError"
    FORMATION_VIOLATION = "FormationViolation"
    PROPERTY_CONSTRAINT_VIOLATION = "PropertyConstraintViolation"
    OCCURENCE_CONSTRAINT_VIOLATION = "OccurenceConstraintViolation"
    TYPE_CONSTRAINT_VIOLATION = "TypeConstraintViolation"
    GENERIC_ERROR = "GenericError"


class CallError(msgspec.Struct, frozen=True):
    """An answer that refuses a CALL: the code, and in words why. errorDetails stays empty."""

    code: ErrorCode
    description: str
