"""How the Central System answers a station's CALLs, in the `ocpp` package's own types.

Owns: one answer per action. Does not: check the request (`schemas.py` did), or send anything.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from ocpp.charge_point import remove_nones, serialize_as_dict, snake_to_camel_case
from ocpp.v16 import call_result, datatypes, enums

from services.demo.behaviour import Behaviour
from services.demo.book import utc_text


class Answers:
    """Answers for all stations; remembers issued transactionIds, by station and unique id, so that it knows repeats."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._issued: dict[tuple[str, str, str], int] = {}
        self._handlers: dict[str, Callable[[str, str, dict[str, Any]], Any]] = {
            "Authorize": self._authorize,
            "BootNotification": self._boot_notification,
            "DataTransfer": self._data_transfer,
            "DiagnosticsStatusNotification": lambda *_: call_result.DiagnosticsStatusNotification(),
            "FirmwareStatusNotification": lambda *_: call_result.FirmwareStatusNotification(),
            "Heartbeat": lambda *_: call_result.Heartbeat(current_time=utc_text(datetime.now(UTC))),
            "LogStatusNotification": lambda *_: call_result.LogStatusNotification(),
            "MeterValues": lambda *_: call_result.MeterValues(),
            "SecurityEventNotification": lambda *_: call_result.SecurityEventNotification(),
            "SignCertificate": lambda *_: call_result.SignCertificate(status=enums.GenericStatus.accepted),
            "SignedFirmwareStatusNotification": lambda *_: call_result.SignedFirmwareStatusNotification(),
            "StartTransaction": self._start_transaction,
            "StatusNotification": lambda *_: call_result.StatusNotification(),
            "StopTransaction": self._stop_transaction,
        }

    def knows(self, action: str) -> bool:
        """Whether stations may send this action."""
        return action in self._handlers

    def answer(self, identity: str, unique_id: str, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        """The payload of the CALLRESULT to a valid CALL."""
        result = self._handlers[action](identity, unique_id, payload)
        answer: dict[str, Any] = snake_to_camel_case(remove_nones(serialize_as_dict(result)))
        return answer

    def _authorize(self, _: str, __: str, payload: dict[str, Any]) -> Any:
        return call_result.Authorize(id_tag_info=self._id_tag_info(payload["idTag"]))

    def _boot_notification(self, *_: Any) -> Any:
        return call_result.BootNotification(
            current_time=utc_text(datetime.now(UTC)),
            interval=self._behaviour.interval_s,
            status=enums.RegistrationStatus(self._behaviour.registration),
        )

    def _data_transfer(self, *_: Any) -> Any:
        return call_result.DataTransfer(status=enums.DataTransferStatus.unknown_vendor_id)

    def _start_transaction(self, identity: str, unique_id: str, payload: dict[str, Any]) -> Any:
        return call_result.StartTransaction(
            transaction_id=self._transaction_id(identity, unique_id, payload),
            id_tag_info=self._id_tag_info(payload["idTag"]),
        )

    def _stop_transaction(self, _: str, __: str, payload: dict[str, Any]) -> Any:
        id_tag = payload.get("idTag")
        return call_result.StopTransaction(id_tag_info=None if id_tag is None else self._id_tag_info(id_tag))

    def _id_tag_info(self, id_tag: str) -> Any:
        info = self._behaviour.id_tag_info(id_tag)
        return datatypes.IdTagInfo(**{**info, "status": enums.AuthorizationStatus(info["status"])})

    def _transaction_id(self, identity: str, unique_id: str, payload: dict[str, Any]) -> int:
        key = (identity, unique_id, repr(sorted(payload.items())))
        if self._behaviour.recognise_repeats and key in self._issued:
            return self._issued[key]
        issued = self._behaviour.next_transaction_id()
        self._issued[key] = issued
        return issued
