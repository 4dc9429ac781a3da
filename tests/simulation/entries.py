"""Journal entries as they lie in the station's stores, read from outside (pure).

Owns: what of an entry the judge wants to know. Does not: open a store (`disk.py`) or send anything.
"""

from collections.abc import Iterator
from typing import Any

from tests.simulation.ledger import Committed


def committed(at_s: float, entry: dict[str, Any]) -> Committed:
    """An entry as it went to the disk; `said` as `book.said` has it."""
    message = entry["message"]
    action, values, contexts = message["type"], (), frozenset()
    if action == "StartTransaction":
        said = f"{message['id_tag']} from {message['meter_start_wh']} Wh"
    elif action == "StopTransaction":
        said = f"{message['reason']} at {message['meter_stop_wh']} Wh"
    else:
        values = tuple(sampled for value in message["meter_values"] for sampled in value["sampled_values"])
        contexts = frozenset(sampled["context"] for sampled in values)
        said = ", ".join(sampled["value"] for sampled in values)
    dated = not any(undated(entry))
    return Committed(at_s, entry["local_tx_id"], entry["number"], action, message["connector_id"], said, contexts, dated)


def undated(value: Any) -> Iterator[dict[str, Any]]:
    """The moments in an entry that have no UTC."""
    if isinstance(value, dict) and "boottime_ms" in value:
        if value.get("utc_ms") is None:
            yield value
        return
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for one in inner:
        yield from undated(one)
