"""Whether the demo's session came out right: the Central System's book against the virtual meter (pure).

Owns: the comparison, in plain words. Does not: forgive; to the watt-hour means to the watt-hour.
"""

from collections.abc import Sequence

from services.demo.entries import Transaction


def problems(transactions: Sequence[Transaction], *, start_wh: int, end_wh: int) -> list[str]:
    """What differs; empty if the Central System holds one transaction, above zero, as the meter counted it.

    `start_wh`, `end_wh`: what the virtual meter showed before the car took energy, and after the contactor had opened.
    """
    if len(transactions) != 1:
        numbers = ", ".join(str(transaction.transaction_id) for transaction in transactions) or "none"
        return [f"the Central System holds {len(transactions)} transactions ({numbers}), not one"]
    (transaction,) = transactions
    stop_wh = transaction.meter_stop_wh
    if stop_wh is None:
        return [f"transaction {transaction.transaction_id} was never stopped: no StopTransaction came"]
    found = []
    if transaction.starts > 1:
        found.append(f"StartTransaction was sent {transaction.starts} times")
    if transaction.stops > 1:
        found.append(f"StopTransaction was sent {transaction.stops} times")
    if stop_wh <= transaction.meter_start_wh:
        found.append(f"no energy was billed: the meter went from {transaction.meter_start_wh} Wh to {stop_wh} Wh")
    if transaction.meter_start_wh != start_wh:
        found.append(f"it starts at {transaction.meter_start_wh} Wh, but the virtual meter showed {start_wh} Wh")
    if stop_wh != end_wh:
        found.append(f"it ends at {stop_wh} Wh, but the virtual meter shows {end_wh} Wh")
    return found
