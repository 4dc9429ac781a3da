"""What the Central System's answers to transaction messages change (pure; OCPP 1.6 §4.8, §9.1.14, §9.1.24, errata v4.0 3.17).

Owns: the transactionId, the group, the refusal of an idTag after the fact and the energy that is still allowed then. Does not:
deliver anything (the queue does), or close a transaction (`transactions.py`).
"""

import msgspec

from bus.messages import Delivered, DeliveryEntry, IdTagInfo
from bus.vocabulary import AuthorizationStatus, Reason
from services.connectors import authorization, transactions
from services.connectors import events as e
from services.connectors.open_transaction import Transaction
from services.connectors.state import Connector, Settings
from services.connectors.work import Work


def only_forgets(entry: DeliveryEntry) -> bool:
    """Whether an outcome changes nothing but that the entry is not kept any longer: most are of MeterValues."""
    answered = isinstance(entry.outcome, Delivered) and entry.outcome.id_tag_info is not None
    return entry.number != 0 and not answered


def delivered(work: Work, entry: DeliveryEntry, id_tag: str | None) -> None:
    """The queue says what became of a message, in which `id_tag` was (None: none).

    All in the commit that forgets the entry: the cache, the transactionId, and the intent to stop. The messages that are still
    kept tell from then on what became of their start: a queue that loses its store gets them, but no StartTransaction any more.
    """
    work.change(e.ForgetEntry(entry))
    outcome = entry.outcome
    found = (c for c in work.state.connectors if c.transaction and c.transaction.local_tx_id == entry.local_tx_id)
    connector = next(found, None) if entry.number == 0 else None
    if not isinstance(outcome, Delivered):
        if entry.number == 0:
            _start_given_up(work, entry.local_tx_id, connector)
        return
    authorization.remember(work, id_tag, outcome.id_tag_info, commits_anyway=True)
    if outcome.transaction_id is not None:
        work.change(e.NoteStartSettled(entry.local_tx_id, outcome.transaction_id))
    if connector is not None:
        _start_answered(work, connector, outcome)


def refusal_due(settings: Settings, connector: Connector, transaction: Transaction) -> bool:
    """Whether a refused idTag now has to lose its energy.

    MaxEnergyOnInvalidId is the energy that may be delivered from the refusal on (OCPP 1.6 §9.1.14), so that the vehicle can
    drive away (errata v4.0 3.17); its value of now counts, 0 is none. Choice: only while the meter can be trusted, since
    nobody else could say when it is used up.
    """
    if transaction.refused_at_wh is None or transaction.deauthorized:
        return False
    ends_at_wh = transaction.refused_at_wh + settings.max_energy_on_invalid_id_wh
    return transaction.last.energy_wh >= ends_at_wh or bool(connector.meter_failure)


def end_refused(work: Work, connector: Connector) -> None:
    """Stop the transaction, or only its energy, as StopTransactionOnInvalidId says now (errata v4.0 3.17).

    Choice: MaxEnergyOnInvalidId puts off either of them; beside StopTransactionOnInvalidId true it would else mean nothing.
    Without energy the transaction can still be ended at the reader, remotely, or by unplugging.
    """
    transaction = connector.ongoing
    assert transaction is not None, "only an ongoing transaction can lose its energy"
    stops = work.state.settings.stop_transaction_on_invalid_id
    work.note(
        "idTag of the transaction is refused, "
        + ("the transaction stops" if stops else "it goes on without energy, as StopTransactionOnInvalidId is false"),
        connector_id=connector.connector_id,
        local_tx_id=transaction.local_tx_id,
        id_tag=transaction.id_tag,
        warning=True,
    )
    if stops:
        transactions.stop(work, connector, Reason.DE_AUTHORIZED)
    else:
        transactions.save(work, connector, msgspec.structs.replace(transaction, deauthorized=True))


def _start_given_up(work: Work, local_tx_id: str, connector: Connector | None) -> None:
    """The rest goes out with transactionId -1 (errata v4.0 3.18), by a queue that has lost its store too."""
    work.change(e.NoteStartSettled(local_tx_id, None))
    if connector is not None and connector.transaction is not None:
        transactions.save(work, connector, msgspec.structs.replace(connector.transaction, start_given_up=True))


def _start_answered(work: Work, connector: Connector, outcome: Delivered) -> None:
    transaction, info = connector.transaction, outcome.id_tag_info
    assert transaction is not None, "the connector was found by its transaction"
    if info is not None and info.parent_id_tag is not None:
        transaction = msgspec.structs.replace(transaction, parent_id_tag=info.parent_id_tag)
    if outcome.transaction_id is not None:
        # A person may have queued it again after it was given up.
        transaction = msgspec.structs.replace(transaction, transaction_id=outcome.transaction_id, start_given_up=False)
    if info is None or info.status is AuthorizationStatus.ACCEPTED or connector.ongoing is None:
        transactions.save(work, connector, transaction)
    else:
        _refuse(work, connector, transaction, info)


def _refuse(work: Work, connector: Connector, transaction: Transaction, info: IdTagInfo) -> None:
    """Any status but Accepted, ConcurrentTx too (OCPP 1.6 §4.8, errata v4.0 3.17)."""
    if transaction.refused_at_wh is None:
        transaction = msgspec.structs.replace(transaction, refused_at_wh=transaction.last.energy_wh)
    connector = transactions.save(work, connector, transaction)
    allowed_wh = work.state.settings.max_energy_on_invalid_id_wh
    work.note(
        "Central System refuses the idTag of the transaction",
        connector_id=connector.connector_id,
        local_tx_id=transaction.local_tx_id,
        id_tag=transaction.id_tag,
        detail=f"{info.status}, MaxEnergyOnInvalidId {allowed_wh} Wh",
        warning=True,
    )
    if refusal_due(work.state.settings, connector, transaction):
        end_refused(work, connector)
