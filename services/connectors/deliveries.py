"""What the Central System's answers to transaction messages change (pure; OCPP 1.6 §4.8, §9.1.24, errata v4.0 3.17).

Owns: the transactionId, the group, the refusal of an idTag after the fact. Does not:
deliver anything (the queue does), or close a transaction (`transactions.py`).
"""

import msgspec

from bus.messages import Delivered, DeliveryEntry, IdTagInfo
from bus.vocabulary import AuthorizationStatus, Reason
from services.connectors import authorization, transactions
from services.connectors import events as e
from services.connectors.state import Connector, Transaction
from services.connectors.work import Work


def delivered(work: Work, entry: DeliveryEntry, id_tag: str | None) -> None:
    """The queue says what became of a message, in which `id_tag` was (None: none).

    All in the commit that forgets the entry: the cache, the transactionId, and the intent to stop.
    """
    work.change(e.ForgetEntry(entry.local_tx_id, entry.number))
    outcome = entry.outcome
    if not isinstance(outcome, Delivered):
        return
    authorization.remember(work, id_tag, outcome.id_tag_info, commits_anyway=True)
    found = (c for c in work.state.connectors if c.transaction and c.transaction.local_tx_id == entry.local_tx_id)
    connector = next(found, None)
    if connector is not None and entry.number == 0:
        _start_answered(work, connector, outcome)


def _start_answered(work: Work, connector: Connector, outcome: Delivered) -> None:
    transaction, info = connector.transaction, outcome.id_tag_info
    assert transaction is not None, "the connector was found by its transaction"
    if info is not None and info.parent_id_tag is not None:
        transaction = msgspec.structs.replace(transaction, parent_id_tag=info.parent_id_tag)
    if outcome.transaction_id is not None:
        transaction = msgspec.structs.replace(transaction, transaction_id=outcome.transaction_id)
    if info is None or info.status is AuthorizationStatus.ACCEPTED or connector.ongoing is None:
        transactions.save(work, connector, transaction)
    else:
        _refuse(work, connector, transaction, info)


def _refuse(work: Work, connector: Connector, transaction: Transaction, info: IdTagInfo) -> None:
    """Any status but Accepted, ConcurrentTx too (OCPP 1.6 §4.8, errata v4.0 3.17)."""
    stops = work.state.settings.stop_transaction_on_invalid_id
    if not stops:
        transaction = msgspec.structs.replace(transaction, deauthorized=True)
    connector = transactions.save(work, connector, transaction)
    work.note(
        "Central System refuses the idTag of the transaction, "
        + ("the transaction stops" if stops else "it goes on without energy, as StopTransactionOnInvalidId is false"),
        connector_id=connector.connector_id,
        local_tx_id=transaction.local_tx_id,
        id_tag=transaction.id_tag,
        detail=str(info.status),
        warning=True,
    )
    if stops:
        transactions.stop(work, connector, Reason.DE_AUTHORIZED)
