"""Connectors are taken out of service in `connectors.db` while the service does not run: its next start goes by that.

Owns: that change. Does not: take the service's lock, which the caller holds, or decide what it means (`availability.py`).
"""

import sqlite3

from bus.database import transaction
from bus.messages import Moment
from bus.operating_messages import OutOfService, OutOfServiceAnswer
from bus.vocabulary import CHARGE_POINT
from services.connectors import events as e
from services.connectors.availability import out_of_service_answer, with_out_of_service
from services.connectors.state import Availability
from services.connectors.store import Store


def take_out_of_service(
    database: sqlite3.Connection, request: OutOfService, numbers: set[int], at: Moment
) -> OutOfServiceAnswer:
    """On disk when it returns. `numbers`: the connectors that there are; `at`: now. Raises sqlite3.Error."""
    if request.connector_id is not None and request.connector_id not in numbers:
        return OutOfServiceAnswer(refusal=f"there is no connector {request.connector_id}")
    store = Store(database)
    loaded = store.load()
    meant = sorted({CHARGE_POINT, *numbers}) if request.connector_id is None else [request.connector_id]
    before = {number: loaded.availability.get(number, Availability()) for number in meant}
    answer = out_of_service_answer(before, request, {one.connector_id for one in loaded.transactions})
    with transaction(database):
        for number in answer.changed:
            changed = with_out_of_service(before[number], request, at)
            store.save_availability(e.SaveAvailability(number, changed))
    return answer
